//! The account as a ladder: one line per message, an arrow from who sent it to who got it.

use std::fmt::Write;
use std::time::Duration;

use super::account::{Account, MessageEntry, Side};

/// Columns between the two ends.
const WIDTH: usize = 64;

/// Draws the messages of an account.
pub fn draw(account: &Account) -> String {
    let mut out = String::new();
    let (left, right) = (account.initiator.to_string(), account.responder.to_string());
    let gap = WIDTH.saturating_sub(left.len()).max(2);
    let _ = writeln!(out, "{:>10}  {left}{}{right}", "", " ".repeat(gap));
    let start = account.messages.first().map_or(Duration::ZERO, |message| message.t);
    for message in &account.messages {
        let _ = writeln!(out, "{:>10}  {}", since(start, message.t), rung(message));
        if let Some(malformed) = &message.malformed {
            let _ = writeln!(out, "{:>10}  |   ! {malformed}", "");
        }
    }
    out
}

/// Seconds after the first message.
fn since(start: Duration, time: Duration) -> String {
    match time.checked_sub(start) {
        Some(later) => format!("{:.6}", later.as_secs_f64()),
        // A capture whose clock was set back.
        None => format!("-{:.6}", start.saturating_sub(time).as_secs_f64()),
    }
}

fn rung(message: &MessageEntry) -> String {
    let mut label = format!(" {} ", caption(message));
    let room = WIDTH.saturating_sub(4);
    if label.chars().count() > room {
        label = label.chars().take(room.saturating_sub(2)).chain(['…', ' ']).collect();
    }
    let dashes = "-".repeat(WIDTH.saturating_sub(label.chars().count()).saturating_sub(3));
    match message.from {
        Side::Initiator => format!("|-{label}{dashes}>|"),
        Side::Responder => format!("|<{dashes}{label}-|"),
    }
}

/// What stands on the arrow.
pub(super) fn caption(message: &MessageEntry) -> String {
    let mut text = message.kind.clone();
    if let Some(id) = message.message_id.filter(|id| *id != 0) {
        let _ = write!(text, " #{id:x}");
    }
    if !message.payloads.is_empty() {
        let _ = write!(text, ": {}", message.payloads.join(" "));
    }
    if message.fragments > 1 {
        let _ = write!(text, " in {} pieces", message.fragments);
    }
    if message.retransmission {
        text.push_str(" again");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::account::Protocol;

    fn message(millis: u64, from: Side, kind: &str) -> MessageEntry {
        MessageEntry {
            t: Duration::from_millis(1_000_000 + millis),
            from,
            kind: kind.to_owned(),
            message_id: None,
            payloads: Vec::new(),
            bytes: 100,
            retransmission: false,
            fragments: 1,
            malformed: None,
        }
    }

    #[test]
    fn arrows_point_from_the_sender_and_lines_are_of_one_width() {
        let mut account =
            Account::new(Protocol::Ikev2, ([10, 0, 0, 1], 500).into(), ([10, 0, 0, 2], 500).into(), "ike_sa_init");
        let payloads = ["SA", "KE", "Nonce"].map(str::to_owned).to_vec();
        account.messages = vec![
            MessageEntry { payloads, ..message(0, Side::Initiator, "IKE_SA_INIT") },
            MessageEntry { retransmission: true, ..message(500, Side::Initiator, "IKE_SA_INIT") },
            MessageEntry {
                malformed: Some("SA ends too early".to_owned()),
                ..message(512, Side::Responder, &"x".repeat(99))
            },
        ];
        let drawn = draw(&account);
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].ends_with("10.0.0.2:500"), "{drawn}");
        assert!(
            lines[1].starts_with("  0.000000  |- IKE_SA_INIT: SA KE Nonce --") && lines[1].ends_with(">|"),
            "{drawn}"
        );
        assert!(lines[2].starts_with("  0.500000") && lines[2].contains(" again "), "{drawn}");
        assert!(lines[3].contains("|<-") && lines[3].contains("… -|"), "{drawn}");
        assert!(lines[4].contains("! SA ends too early"), "{drawn}");
        let widths = lines[1..4].iter().map(|line| line.chars().count()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(widths.len(), 1, "{drawn}");
    }

    #[test]
    fn a_clock_set_back_is_shown() {
        assert_eq!(since(Duration::from_secs(5), Duration::from_secs(3)), "-2.000000");
    }
}
