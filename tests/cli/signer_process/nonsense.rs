//! What is no request.

use std::io::Write;
use std::os::unix::net::UnixStream;

use keyferry::io::signer::frames;

use super::{OWNER, Process, credential};

#[test]
fn nonsense_ends_the_connection_and_not_the_process() {
    let process = Process::start("root");
    for nonsense in [&[0xff; 64][..], &[0, 0, 0, 1, 0xff], &[0, 0, 0, 9], &[0xff, 0xff, 0xff, 0xff]] {
        let mut stream = UnixStream::connect(process.socket()).unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(frames::read(&mut stream).map_or(true, |body| body.is_none()));
    }
    let (credential, private_key) = credential();
    process.remote().import(OWNER, &credential, &private_key).unwrap();
    let (_, others) = self::credential();
    let error = process.remote().import(OWNER, &credential, &others).unwrap_err();
    assert!(error.detail.contains("not that of the certificate"), "{error}");
}
