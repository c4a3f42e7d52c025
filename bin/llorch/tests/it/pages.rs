//! Help, manual pages and completion scripts.

use crate::support::run;

// spec: CLI-1
#[test]
fn help_lists_every_exit_code() {
    let help = run("", &["--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for code in ["0 ", "2 ", "3 ", "4 ", "5 ", "130 "] {
        assert!(help.out.contains(&format!("\n  {code}")), "{}", help.out);
    }
    assert_eq!(
        run("", &["--version"]).out,
        concat!("llorch ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

// spec: CLI-11
#[test]
fn completions_are_scripts_of_their_shells() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef llorch"),
        ("fish", "complete -c llorch"),
    ] {
        let script = run("", &["completions", shell]);
        assert_eq!(script.code, Some(0));
        assert!(
            script.out.contains(part) && script.out.contains("undrain"),
            "{shell}"
        );
    }
    assert_eq!(run("", &["completions", "tcsh"]).code, Some(2));
}

// spec: CLI-11
#[test]
fn there_is_a_manual_page_for_each_command() {
    let page = run("", &["man"]);
    assert!(
        page.out.contains(".TH llorch 1") && page.out.contains("undrain"),
        "{}",
        page.out
    );
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    assert_eq!(run("", &["man", "--out", out]).code, Some(0));
    for page in ["llorch.1", "llorch-drain.1", "llorch-tasks-events.1"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
    let nowhere = run("", &["man", "--out", "/nowhere/at/all"]);
    assert_eq!(
        (nowhere.code, nowhere.err.lines().count()),
        (Some(2), 1),
        "{nowhere:?}"
    );
}
