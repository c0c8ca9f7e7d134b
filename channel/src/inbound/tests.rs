//! Requests that our own side never sends.

use super::*;
use crate::oscore::{Context, Id};
use crate::{ChannelKey, Input, Settings, State};

/// A gateway whose replay window is open, and a foreign terminal that holds the key of epoch 0.
struct Scene {
    gateway: Endpoint,
    terminal: Context,
    next: u64,
}

impl Scene {
    fn new() -> Self {
        let settings = |own: &[u8], peer: &[u8]| Settings {
            own: Id::try_from(own).unwrap(),
            peer: Id::try_from(peer).unwrap(),
            handovers_per_epoch: 8,
            epoch_lifetime: Duration::MAX,
        };
        let key = || ChannelKey::from_bytes([7; 32]);
        let gateway = settings(&[0], &[1]);
        let mut gateway = Endpoint::new(gateway, State::new(key()), [1; 32], Instant::from_micros(0));
        gateway.epochs.current.window = ReplayWindow::fresh();
        let terminal = Epoch::derive(0, &key(), &settings(&[1], &[0]), ReplayWindow::fresh()).context;
        Self { gateway, terminal, next: 0 }
    }

    /// What comes back to a POST with these options: the code, if there is an answer.
    fn post(&mut self, kind: Kind, options: &[(OptionNumber, &[u8])], payload: &[u8]) -> Option<Code> {
        let mut content = alloc::vec![Code::from(Method::POST).0];
        let mut writer = OptionWriter::new(&mut content);
        for (number, value) in options {
            writer.push(*number, value);
        }
        emit_payload(&mut content, payload);
        let partial_iv = PartialIv::new(self.next).unwrap();
        let token = Token::new(&[1, 2]).unwrap();
        let outer = Outer { kind, message_id: self.next as u16, token: &token, uri_host: None };
        self.next += 1;
        let datagram = self.terminal.protect_request(&outer, partial_iv, &content).unwrap();
        let now = self.gateway.now;
        let _ = self.gateway.handle_input(now, Input::Datagram { bytes: &datagram, path_is_new: false });
        let mut code = None;
        loop {
            match self.gateway.poll_output() {
                Output::Transmit(datagram) => {
                    let message = Message::parse(&datagram).unwrap();
                    let content = self.terminal.unprotect_response(partial_iv, None, message.payload).unwrap();
                    code = Some(Code(content[0]));
                }
                Output::Event(Event::Request { exchange, payload, .. }) => {
                    self.gateway.handle_input(now, Input::Respond { exchange, code: Code::CHANGED, payload }).unwrap();
                }
                Output::Timeout(..) => return code,
                _ => {}
            }
        }
    }

    /// A block of 16 bytes.
    fn block(&mut self, number: u8, more: bool, tags: &[&[u8]]) -> Option<Code> {
        let block = [number << 4 | u8::from(more) << 3];
        // The block value 0 is an empty string.
        let block = if block == [0] { &[][..] } else { &block };
        let mut options = alloc::vec![(OptionNumber::URI_PATH, &b"x"[..]), (OptionNumber::BLOCK1, block)];
        options.extend(tags.iter().map(|tag| (OptionNumber::REQUEST_TAG, *tag)));
        self.post(Kind::Confirmable, &options, &[number; 16])
    }
}

#[test]
fn blocks_with_another_list_of_request_tags_are_of_another_body() {
    let lists: [&[&[u8]]; 5] = [&[], &[b""], &[b"a"], &[b"a", b""], &[b"b"]];
    for first in lists {
        for second in lists {
            let mut scene = Scene::new();
            assert_eq!(scene.block(0, true, first), Some(Code::CONTINUE));
            let expected = if first == second { Code::CHANGED } else { Code::REQUEST_ENTITY_INCOMPLETE };
            assert_eq!(scene.block(1, false, second), Some(expected), "{first:?}, then {second:?}");
        }
    }
}

#[test]
fn a_request_tag_too_long_is_ignored() {
    let mut scene = Scene::new();
    let long = (OptionNumber::REQUEST_TAG, &b"123456789"[..]);
    assert_eq!(scene.post(Kind::Confirmable, &[long], b"body"), Some(Code::CHANGED));
    assert_eq!(scene.block(0, true, &[b"123456789"]), Some(Code::CONTINUE));
    assert_eq!(scene.block(1, false, &[]), Some(Code::CHANGED));
}

#[test]
fn a_critical_option_unknown_gets_4_02_or_in_a_non_confirmable_request_silence() {
    let mut scene = Scene::new();
    let accept = (OptionNumber(17), &[60][..]);
    assert_eq!(scene.post(Kind::Confirmable, &[accept], b""), Some(Code::BAD_OPTION));
    assert_eq!(scene.post(Kind::NonConfirmable, &[accept], b""), None);
    assert_eq!(scene.post(Kind::NonConfirmable, &[], b""), Some(Code::CHANGED));
}
