//! Generated files are what their generators write today.

use std::process::Command;

#[test]
fn the_schema_tables_are_in_step_with_the_crates_they_come_from() {
    let output = Command::new(env!("CARGO_BIN_EXE_generate")).arg("--check").output().expect("generate runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
