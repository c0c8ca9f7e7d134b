//! Who may ask for what.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keyferry::crypto::Secret;
use keyferry::error::Reason;
use keyferry::io::signer::frames::{self, Request, Response};
use keyferry::signer::Credential;

use super::{OWNER, Process, credential};

/// A user that is nobody's here.
const STRANGER: u32 = 54_321;
const GATEWAY: u32 = 54_322;

#[test]
fn each_user_may_do_its_part_and_no_more() {
    let process = Process::start(&GATEWAY.to_string());
    let (credential, private_key) = credential();
    process.remote().import(OWNER, &credential, &private_key).unwrap();
    let mode = fs::metadata(process.socket()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o660);
    // From here on the mode keeps nobody out: SO_PEERCRED has to.
    fs::set_permissions(process.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let ask = |uid, frame: &Request<'_>| ask_as(uid, &process.socket(), frame);

    assert!(matches!(ask(GATEWAY, &Request::Open { owner: OWNER, closed: vec![] }), Some(Response::Opened { .. })));
    refused(ask(GATEWAY, &import(&credential, &private_key)), "only root and the signer's own user");
    for frame in [
        Request::Open { owner: OWNER, closed: vec![] },
        Request::Forget { owner: OWNER, name: None },
        import(&credential, &private_key),
    ] {
        assert_eq!(ask(STRANGER, &frame), None);
    }
    // Root brings keys, and is not the gateway here.
    refused(ask(0, &Request::Open { owner: OWNER, closed: vec![] }), "only the gateway's user");
    assert_eq!(ask(0, &import(&credential, &private_key)), Some(Response::Done));
    assert_eq!(ask(GATEWAY, &Request::Forget { owner: OWNER, name: None }), Some(Response::Done));
    refused(ask(GATEWAY, &Request::Open { owner: OWNER, closed: vec![] }), "has no certificate");
}

/// What the signer answers another user to one frame; None where it closes the connection.
fn ask_as(uid: u32, socket: &Path, frame: &Request<'_>) -> Option<Response> {
    const CLIENT: &str = "\
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
try:
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
    while piece := s.recv(4096):
        sys.stdout.buffer.write(piece)
except (BrokenPipeError, ConnectionResetError):
    pass
";
    let mut bytes = Vec::new();
    frames::write(&mut bytes, frame).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", CLIENT]).arg(socket).stdin(Stdio::piped()).stdout(Stdio::piped()).uid(uid).gid(uid);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    assert!(status.success(), "the client of user {uid} failed");
    let body = frames::read(&mut stdout.as_slice()).unwrap()?;
    Some(frames::decode(&body).unwrap())
}

fn import<'a>(credential: &'a Credential, private_key: &'a Secret) -> Request<'a> {
    Request::Import {
        owner: OWNER,
        name: &credential.name,
        chain: vec![credential.leaf().into()],
        private_key: private_key.as_bytes().into(),
    }
}

#[track_caller]
fn refused(response: Option<Response>, why: &str) {
    match response {
        Some(Response::Failed { reason, detail }) => {
            assert_eq!(Reason(reason), Reason::SIGNER_REFUSED);
            assert!(detail.contains(why), "{detail}");
        }
        other => panic!("{other:?}"),
    }
}
