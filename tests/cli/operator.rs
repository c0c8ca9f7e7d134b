//! Somebody with a configuration in a directory, who types commands there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use serde_json::Value;
use tempfile::TempDir;

pub const CONFIG: &str = r#"
[gateway]
state_directory = "state"
key_file = "store.key"
admin_socket = "run/admin.sock"
[network]
terminal_interfaces = ["lo"]
[channel]
listen = ["10.7.1.1:5683", "[fd07:1::1]:5683"]
[trust.plant]
pins = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
[[peer]]
name = "server.example"
ports = [443]
terminals = ["*"]
trust = "plant"
"#;

pub struct Operator {
    directory: TempDir,
}

impl Operator {
    pub fn new() -> Self {
        Self::configured("")
    }

    /// With further lines in the configuration.
    pub fn configured(lines: &str) -> Self {
        let operator = Self { directory: tempfile::tempdir().unwrap() };
        operator.write("keyferry.toml", &format!("{CONFIG}{lines}"), 0o600);
        operator
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes NAME.pem and NAME.key, good until the first day of a year.
    pub fn certify(&self, name: &str, key: &KeyPair, until: i32) {
        let mut params = CertificateParams::new([format!("{name}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until, 1, 1);
        self.write(&format!("{name}.pem"), &params.self_signed(key).unwrap().pem(), 0o644);
        self.write(&format!("{name}.key"), &key.serialize_pem(), 0o600);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.current_dir(self.directory.path()).args(["--config", "keyferry.toml"]).args(arguments);
        command.output().unwrap()
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    /// A command that must end with `code` and say `why`.
    #[track_caller]
    pub fn fails(&self, code: i32, arguments: &[&str], why: &str) {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(why), "{arguments:?}: {text}");
    }

    /// A command that is understood and cannot be done.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], why: &str) {
        self.fails(1, arguments, why);
    }

    /// Standard error of a command that succeeds all the same.
    #[track_caller]
    pub fn warned(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }
}

/// Whether `place` shows the scalar of an EC key in PKCS#8, whose other bytes are structure and the public key.
pub fn shows(place: &[u8], pkcs8: &[u8]) -> bool {
    let scalar = &pkcs8[36..68];
    contains(place, scalar) || contains(place, keyferry::hex::encode(scalar).as_bytes())
}

pub fn contains(place: &[u8], what: &[u8]) -> bool {
    place.windows(what.len()).any(|window| window == what)
}
