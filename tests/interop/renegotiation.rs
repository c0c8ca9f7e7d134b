//! A TLS 1.2 peer that wants to renegotiate is told no. OpenSSL and GnuTLS end the connection over that; the terminal
//! itself would go on.

use std::io::Write;

use anyhow::{Context, Result};
use xtask::lab::{Client, ClientOptions, OpenSsl, PeerOptions, Version};

use crate::harness::{self, PATIENCE, TARGET};
use crate::serving::{self, OPEN, PORT};

#[test]
#[ignore = "needs network namespaces"]
fn hello_request_of_openssl_is_refused() -> Result<()> {
    harness::plain(|world| {
        let leaf = world.leaf()?;
        let options = PeerOptions { version: Some(Version::Tls12), ..PeerOptions::new(&leaf) };
        let mut server = OpenSsl::interactive(&world.lab, &options, &["-msg"])?;
        let mut pipe = world.agent.connect(&world.lab, TARGET)?;
        let mut console = server.process.take_stdin().context("no console")?;
        console.write_all(b"before\n")?;
        assert_eq!(pipe.read(7)?, b"before\n");
        // s_server sends HelloRequest, and at once what follows.
        console.write_all(b"r\n")?;
        pipe.write(b"from the terminal\n")?;
        let output = server.process.take_stdout().context("no output")?;
        let said = until(output, "no_renegotiation")?;
        assert!(said.contains("HelloRequest"), "{said}");
        assert_eq!(said.matches("ClientHello").count(), 1, "{said}");
        drop(pipe.input.take());
        pipe.process.wait(PATIENCE)?;
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn hello_of_a_client_in_a_session_is_refused() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let mut pipe = world.agent.listen(&world.lab, PORT, &[])?;
        let options = serving::asking(world.pki.anchor_file());
        let options = ClientOptions { version: Some(Version::Tls12), ..options };
        let mut client = Client::OpenSsl.command(&world.lab, &options);
        client.arg("-msg");
        let mut client = world.lab.spawn_piped("s_client", client)?;
        let mut console = client.take_stdin().context("no console")?;
        console.write_all(b"before\n")?;
        assert_eq!(pipe.read(7)?, b"before\n");
        console.write_all(b"R\n")?;
        let said = until(client.take_stdout().context("no output")?, "no_renegotiation")?;
        assert_eq!(said.matches("ClientHello").count(), 2, "{said}");
        Ok(())
    })
}

/// Reads until a line contains the text; everything so far.
fn until(output: impl std::io::Read, text: &str) -> Result<String> {
    let mut said = String::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(output)) {
        let line = line?;
        said += &line;
        said += "\n";
        if line.contains(text) {
            return Ok(said);
        }
    }
    anyhow::bail!("{text} is not in {said}")
}
