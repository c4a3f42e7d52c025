//! Files that are refused, with the sentence that says why.

use std::fs;

use sha2::{Digest as _, Sha256};
use state_export::{FormatError, MAX_EXPORT_BYTES, Profile, StateExport, read_file};

use crate::support::some;

/// The lines of an export, changed, with a checksum that fits to them.
fn changed(change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let bytes = some(Profile::Cloud).to_bytes().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    change(&mut lines);
    let body = lines.join("\n") + "\n";
    let sha256 = const_hex::encode(Sha256::digest(&body));
    let records = lines.len() - 1;
    format!("{body}{{\"end\":{{\"records\":{records},\"sha256\":\"{sha256}\"}}}}\n").into_bytes()
}

fn refusal(bytes: &[u8]) -> String {
    let error = StateExport::parse(bytes).unwrap_err();
    error.to_string()
}

// spec: KEEP-72
#[test]
fn what_is_refused_says_which_field_and_why() {
    assert!(StateExport::parse(&changed(|_| {})).is_ok());
    for (from, to, says) in [
        ("llorch-state", "other", "is no export of a control plane"),
        (
            "\"version\":1",
            "\"version\":2",
            "version: is 2, and this program knows none above 1",
        ),
        ("\"version\":1", "\"version\":0", "is no export"),
        (
            "\"profile\":\"cloud\"",
            "\"profile\":\"x\"",
            "line 1: unknown variant `x`",
        ),
        (
            "\"profile\":\"cloud\"",
            "\"profile\":\"home\"",
            "node_id: is missing",
        ),
        ("{\"node\":", "{\"gpu\":", "line 2: unknown variant `gpu`"),
        (
            "\"node_id\":\"gpu-001\"",
            "\"node_id\":\"gpu-000\"",
            "node.node_id: ",
        ),
        ("\"node_id\":\"gpu-001\"", "\"node_id\":\"\"", "line 3: "),
        (
            "\"key_id\":\"000000000001\"",
            "\"key_id\":\"1\"",
            "key.key_id: ",
        ),
        ("\"name\":\"key ", "\"name\":\" key ", "key.name: "),
        ("\"scopes\":[\"operator\"]", "\"scopes\":[]", "key.scopes: "),
        (
            "\"scopes\":[\"operator\"]",
            "\"scopes\":[\"node\"]",
            "key.scopes: ",
        ),
        (
            "\"requests_per_minute\":8",
            "\"requests_per_minute\":0",
            "requests_per_minute: must be",
        ),
        ("\"uses\":0", "\"uses\":2", "join_token.uses: "),
        ("\"date\":\"", "\"date\":\"x", "usage.date: must be a day"),
        ("\"key_name\":\"", "\"key_name\":\"\\n", "usage.key_name: "),
        ("\"model\":\"tiny\"", "\"model\":\"\"", "usage.model: "),
    ] {
        let bytes = changed(|lines| {
            let line = lines.iter_mut().find(|line| line.contains(from));
            let line = line.unwrap_or_else(|| panic!("{from} is nowhere"));
            *line = line.replace(from, to);
        });
        let said = refusal(&bytes);
        assert!(said.contains(says), "{from}: {said}");
    }
}

// spec: KEEP-72
#[test]
fn lines_that_are_missing_doubled_or_in_another_order_are_noticed() {
    let double = changed(|lines| lines.insert(2, lines[1].clone()));
    assert!(refusal(&double).contains("node.node_id: must be there once"));
    let swapped = changed(|lines| lines.swap(1, 2));
    assert!(refusal(&swapped).contains("in order"));
    let bytes = some(Profile::Cloud).to_bytes().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let one_less: Vec<&str> = text
        .lines()
        .enumerate()
        .filter(|(n, _)| *n != 3)
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        refusal((one_less.join("\n") + "\n").as_bytes()),
        FormatError::Altered.to_string()
    );
    let without_end = &text[..text.rfind("{\"end\"").unwrap()];
    assert_eq!(
        refusal(without_end.as_bytes()),
        FormatError::CutOff.to_string()
    );
    assert_eq!(
        refusal((text.clone() + "x\n").as_bytes()),
        FormatError::CutOff.to_string()
    );
    let ca = "{\"ca_file\":{\"name\":\"ca.key\",\"text\":\"x\"}}".to_owned();
    let half = changed(|lines| lines.push(ca.clone()));
    assert!(refusal(&half).contains("ca_file: must be there once for each"));
}

// spec: KEEP-72
#[test]
fn a_file_that_is_refused_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let said = |path: &std::path::Path| {
        let error = read_file(path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        error
    };
    let missing = directory.path().join("missing");
    said(&missing);
    let empty = directory.path().join("empty");
    fs::write(&empty, "").unwrap();
    assert!(said(&empty).contains("is no export"));
    // It takes no space on the disk.
    let large = directory.path().join("large");
    let file = fs::File::create(&large).unwrap();
    file.set_len(MAX_EXPORT_BYTES + 1).unwrap();
    assert!(said(&large).contains("has more than 1073741824 bytes"));
}

// spec: KEEP-72
#[test]
fn what_a_later_version_adds_to_a_record_is_ignored() {
    let bytes = changed(|lines| {
        for line in lines.iter_mut().take(2) {
            *line = line.replacen("{\"node_id\":", "{\"of_a_later_version\":1,\"node_id\":", 1);
            *line = line.replacen("{\"format\":", "{\"of_a_later_version\":1,\"format\":", 1);
        }
    });
    assert_eq!(StateExport::parse(&bytes).unwrap(), some(Profile::Cloud));
}
