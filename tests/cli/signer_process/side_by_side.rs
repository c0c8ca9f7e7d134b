//! Several of the gateway's threads ask at once.

use keyferry::signer::Signer;

use super::{OWNER, Process, credential, request};

#[test]
fn several_threads_are_served_side_by_side() {
    let process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    remote.import(OWNER, &credential, &private_key).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let opened = remote.open(OWNER).unwrap();
                    remote.sign(&request(&credential, &opened)).unwrap();
                }
            });
        }
    });
}
