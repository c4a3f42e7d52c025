//! Flags before environment before file, and files that are wrong.

use serde_json::json;

use crate::support::{Finished, Server, llorch, unreachable_url, write};

const TOKEN: &str = "canary-9f8e7d6c";

// spec: CLI-4
#[test]
fn flags_go_before_the_environment_and_the_environment_before_the_file() {
    let server = Server::json(200, &json!({"models": []}));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".config/llorch/config.toml");
    write(
        &file,
        &format!("url = {:?}\ntoken = \"from-the-file\"\n", server.url()),
        0o600,
    );
    let token_file = home.path().join("token");
    write(&token_file, "from-a-token-file\n", 0o600);
    let token_file = token_file.to_str().unwrap();
    let unreachable = unreachable_url();
    for (variables, flags, token) in [
        (&[][..], &[][..], "from-the-file"),
        (
            &[("LLORCH_API_TOKEN", "from-a-variable")],
            &[],
            "from-a-variable",
        ),
        (&[("LLORCH_API_TOKEN", "")], &[], "from-the-file"),
        (
            &[("LLORCH_API_TOKEN", "from-a-variable")],
            &["--token", "from-a-flag"],
            "from-a-flag",
        ),
        (
            &[("LLORCH_API_TOKEN", "from-a-variable")],
            &["--token-file", token_file],
            "from-a-token-file",
        ),
    ] {
        let mut command = llorch("", &["models"]);
        command
            .env("HOME", home.path())
            .envs(variables.iter().copied())
            .args(flags);
        let ran: Finished = command.output().unwrap().into();
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (Some(0), ""),
            "{variables:?} {flags:?}"
        );
        assert_eq!(
            server.received().header("authorization"),
            format!("Bearer {token}")
        );
    }
    let mut command = llorch(&unreachable, &["models"]);
    let ran: Finished = command.env("HOME", home.path()).output().unwrap().into();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let mut command = llorch(&unreachable, &["models", "--url", &server.url()]);
    let ran: Finished = command.env("HOME", home.path()).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

// spec: CLI-4
#[test]
fn a_wrong_file_is_named_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    let with = path.to_str().unwrap();
    for (text, part) in [
        (
            format!("token = \"{TOKEN}\"\nurll = \"http://h:1\"\n"),
            "config.toml, line 2: unknown key `urll`",
        ),
        (
            format!("token = {TOKEN}\n"),
            "config.toml, line 1: this is not TOML",
        ),
        (
            "url = \"gopher://h\"\n".to_owned(),
            "config.toml: must be a URL such as",
        ),
        (
            "token = \"short\"\n".to_owned(),
            "config.toml must have at least 8 characters",
        ),
    ] {
        write(&path, &text, 0o600);
        let ran: Finished = llorch("", &["models", "--config", with])
            .output()
            .unwrap()
            .into();
        assert_eq!(ran.code, Some(2), "{text}: {ran:?}");
        assert!(
            ran.err.contains(part) && !ran.err.contains("canary"),
            "{text}: {ran:?}"
        );
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
    let ran: Finished = llorch("", &["models", "--config", "/nowhere/at-all.toml"])
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("/nowhere/at-all.toml"), "{ran:?}");
}

// spec: CLI-4
#[test]
fn a_token_that_others_can_read_is_warned_about() {
    let server = Server::json(200, &json!({"models": []}));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    let with = path.to_str().unwrap();
    let models = || -> Finished {
        let output = llorch(&server.url(), &["models", "--config", with]).output();
        output.unwrap().into()
    };
    write(&path, &format!("token = \"{TOKEN}\"\n"), 0o644);
    let ran = models();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.err.contains(&format!("run: chmod 600 {with}")) && !ran.err.contains("canary"),
        "{ran:?}"
    );
    // Without a token there is nothing to hide.
    write(&path, "# nothing\n", 0o644);
    assert_eq!(models().err, "");
}
