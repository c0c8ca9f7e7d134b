//! `keyferry stats`.

use crate::operator::Operator;

#[test]
fn without_a_gateway_stats_exit_with_3() {
    let operator = Operator::new();
    operator.fails(3, &["stats"], "no gateway is running");
    operator.fails(3, &["stats", "--json"], "admin.sock");
    operator.fails(2, &["stats", "--json", "--prometheus"], "cannot be used with");
}
