//! What the command line says of itself.

use crate::operator::Operator;

#[test]
fn help_teaches_and_completions_are_scripts() {
    let operator = Operator::new();
    let help = operator.ok(&["--help"]);
    for part in ["Examples:", "Exit codes:", "terminal", "uninstall"] {
        assert!(help.contains(part), "{part}");
    }
    assert!(operator.ok(&["terminal", "add", "--help"]).contains("--shared-address"));
    assert!(operator.ok(&["run", "--help"]).contains("insecure-keylog"));
    assert!(operator.ok(&["completions", "bash"]).contains("_keyferry"));
}
