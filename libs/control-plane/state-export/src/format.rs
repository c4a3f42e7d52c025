//! The file: lines of JSON. The first says what it is, each other one has one record, and the last
//! has the checksum of all before it.
//!
//! ```text
//! {"format":"llorch-state","version":1,"profile":"cloud","created_at_ms":…,"made_by":"0.1.0"}
//! {"node":{"node_id":"gpu-1",…}}
//! {"key":{"key_id":"0123456789ab",…}}
//! {"join_token":{…}}
//! {"revoked_node":{…}}
//! {"usage":{"date":"2027-01-31","key_id":…,"key_name":…,"model":…,"requests":1,…}}
//! {"ca_file":{"name":"ca.key","text":"-----BEGIN PRIVATE KEY-----…"}}
//! {"end":{"records":6,"sha256":"…"}}
//! ```

use std::sync::Arc;

use access_keys::AccessKey;
use join_tokens::{JoinToken, NodeCredentials};
use node_ca::{CA_FILE, KEY_FILE, SERVER_FILE};
use pool_registry_types::NodeId;
use registry_store::StoredNode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tls_config::Fingerprint;
use usage_log::{Day, Usage, UsageRow};
use zeroize::Zeroizing;

use crate::{
    ca_files::CaFiles,
    error::{FormatError, StateError},
    export::StateExport,
    layout::Profile,
    limits::{MAX_EXPORT_BYTES, VERSION},
    verify::verify,
};

const FORMAT: &str = "llorch-state";

/// The part of the first line that every version has.
#[derive(Deserialize)]
struct Marker {
    format: String,
    version: u64,
    #[serde(default)]
    made_by: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u64,
    profile: Profile,
    created_at_ms: u64,
    made_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_id: Option<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Node(Box<StoredNode>),
    Key(Box<AccessKey>),
    JoinToken(JoinToken),
    RevokedNode(NodeCredentials),
    Usage(UsageRecord),
    CaFile(CaFile),
}

/// The same to write.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum RecordRef<'a> {
    Node(&'a StoredNode),
    Key(&'a AccessKey),
    JoinToken(&'a JoinToken),
    RevokedNode(&'a NodeCredentials),
    Usage(UsageRecord),
    CaFile(CaFileRef<'a>),
}

#[derive(Serialize, Deserialize)]
struct UsageRecord {
    date: String,
    key_id: Arc<str>,
    key_name: Arc<str>,
    model: Arc<str>,
    #[serde(flatten)]
    usage: Usage,
}

#[derive(Deserialize)]
struct CaFile {
    name: String,
    text: Zeroizing<String>,
}

#[derive(Serialize)]
struct CaFileRef<'a> {
    name: &'a str,
    text: &'a str,
}

#[derive(Serialize, Deserialize)]
struct LastLine {
    end: End,
}

#[derive(Serialize, Deserialize)]
struct End {
    records: u64,
    sha256: String,
}

impl StateExport {
    /// The content of the file. It may have a private key, so its memory is cleared.
    ///
    /// # Errors
    /// When there is more than an export may have.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, StateError> {
        let mut lines = Lines::default();
        lines.add(&Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            profile: self.profile,
            created_at_ms: self.created_at_ms,
            made_by: self.made_by.clone(),
            node_id: self.node_id.clone(),
            ca_sha256: self.ca_sha256.map(|fingerprint| fingerprint.to_string()),
        })?;
        let records = &self.records;
        for node in &records.nodes {
            lines.add(&RecordRef::Node(node))?;
        }
        for key in &records.keys {
            lines.add(&RecordRef::Key(key))?;
        }
        for token in &records.join_tokens {
            lines.add(&RecordRef::JoinToken(token))?;
        }
        for node in &records.node_credentials {
            lines.add(&RecordRef::RevokedNode(node))?;
        }
        for row in &self.usage {
            lines.add(&RecordRef::Usage(UsageRecord {
                date: row.day.to_string(),
                key_id: Arc::clone(&row.key_id),
                key_name: Arc::clone(&row.key_name),
                model: Arc::clone(&row.model),
                usage: row.usage,
            }))?;
        }
        if let Some(ca) = &self.ca {
            for (name, text) in [
                (CA_FILE, &ca.certificate),
                (KEY_FILE, &*ca.key),
                (SERVER_FILE, &*ca.server),
            ] {
                lines.add(&RecordRef::CaFile(CaFileRef { name, text }))?;
            }
        }
        let end = End {
            records: lines.count.saturating_sub(1),
            sha256: sha256(&lines.bytes),
        };
        lines.add(&LastLine { end })?;
        Ok(lines.bytes)
    }

    /// Reads and verifies the content of a file: its form, its checksum, and each record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() as u64 > MAX_EXPORT_BYTES {
            return Err(FormatError::TooLarge);
        }
        let (first, _) = line_at(bytes, 0).ok_or(FormatError::Foreign)?;
        let marker: Marker = serde_json::from_slice(first).map_err(|_| FormatError::Foreign)?;
        if marker.format != FORMAT || marker.version == 0 {
            return Err(FormatError::Foreign);
        }
        if marker.version > VERSION {
            return Err(FormatError::Newer {
                found: marker.version,
                made_by: shortened(&marker.made_by),
            });
        }
        let (lines, end) = split_end(bytes)?;
        if sha256(lines) != end.sha256 {
            return Err(FormatError::Altered);
        }
        let header: Header = serde_json::from_slice(first).map_err(|error| bad(1, &error))?;
        let mut export = header.into_export()?;
        let mut ca = Vec::new();
        let (mut at, mut number) = (first.len() + 1, 1_usize);
        while let Some((line, next)) = line_at(lines, at) {
            number += 1;
            let record = serde_json::from_slice(line).map_err(|error| bad(number, &error))?;
            export.take(record, number, &mut ca)?;
            at = next;
        }
        let found = number as u64 - 1;
        if end.records != found {
            let said = end.records;
            return Err(FormatError::WrongCount { said, found });
        }
        export.ca = ca_files(ca, export.ca_sha256)?;
        verify(&export)?;
        Ok(export)
    }

    fn take(
        &mut self,
        record: Record,
        line: usize,
        ca: &mut Vec<CaFile>,
    ) -> Result<(), FormatError> {
        let records = &mut self.records;
        match record {
            Record::Node(node) => records.nodes.push(*node),
            Record::Key(key) => records.keys.push(*key),
            Record::JoinToken(token) => records.join_tokens.push(token),
            Record::RevokedNode(node) => records.node_credentials.push(node),
            Record::CaFile(file) => ca.push(file),
            Record::Usage(row) => self.usage.push(UsageRow {
                day: row.date.parse::<Day>().map_err(|error| FormatError::Line {
                    line,
                    problem: format!("usage.date: {error}"),
                })?,
                key_id: row.key_id,
                key_name: row.key_name,
                model: row.model,
                usage: row.usage,
            }),
        }
        Ok(())
    }
}

impl Header {
    fn into_export(self) -> Result<StateExport, FormatError> {
        let ca_sha256 = self.ca_sha256.map(|text| text.parse::<Fingerprint>());
        Ok(StateExport {
            profile: self.profile,
            created_at_ms: self.created_at_ms,
            made_by: self.made_by,
            node_id: self.node_id,
            ca_sha256: ca_sha256.transpose().map_err(|error| FormatError::Line {
                line: 1,
                problem: format!("ca_sha256: {error}"),
            })?,
            records: Default::default(),
            usage: Vec::new(),
            ca: None,
        })
    }
}

/// All files of the CA, or none.
fn ca_files(
    files: Vec<CaFile>,
    fingerprint: Option<Fingerprint>,
) -> Result<Option<CaFiles>, FormatError> {
    const INCOMPLETE: FormatError = FormatError::Contradiction(
        "ca_file: must be there once for each of ca.pem, ca.key and server.pem, with `ca_sha256` \
         in the first line",
    );
    if files.is_empty() {
        return Ok(None);
    }
    let mut found: [Option<Zeroizing<String>>; 3] = [None, None, None];
    for file in files {
        let at = [CA_FILE, KEY_FILE, SERVER_FILE]
            .iter()
            .position(|name| *name == file.name);
        let place = at.and_then(|at| found.get_mut(at)).ok_or(INCOMPLETE)?;
        if place.replace(file.text).is_some() {
            return Err(INCOMPLETE);
        }
    }
    match (found, fingerprint) {
        ([Some(certificate), Some(key), Some(server)], Some(fingerprint)) => Ok(Some(CaFiles {
            fingerprint,
            certificate: certificate.to_string(),
            key,
            server,
        })),
        _ => Err(INCOMPLETE),
    }
}

#[derive(Default)]
struct Lines {
    bytes: Zeroizing<Vec<u8>>,
    count: u64,
}

impl Lines {
    fn add(&mut self, line: &impl Serialize) -> Result<(), StateError> {
        // Texts and numbers can always be written.
        let line = Zeroizing::new(serde_json::to_vec(line).unwrap_or_default());
        if (self.bytes.len() + line.len()) as u64 >= MAX_EXPORT_BYTES {
            return Err(StateError::TooLarge);
        }
        self.bytes.extend_from_slice(&line);
        self.bytes.push(b'\n');
        self.count += 1;
        Ok(())
    }
}

/// The line at an offset without its end, and the offset of the next one.
fn line_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    Some((rest.get(..end)?, at + end + 1))
}

/// The lines before the last one, and what that says.
fn split_end(bytes: &[u8]) -> Result<(&[u8], End), FormatError> {
    let whole = bytes.strip_suffix(b"\n").ok_or(FormatError::CutOff)?;
    let at = whole.iter().rposition(|byte| *byte == b'\n');
    let (lines, last) = whole.split_at(at.ok_or(FormatError::CutOff)? + 1);
    let last: LastLine = serde_json::from_slice(last).map_err(|_| FormatError::CutOff)?;
    Ok((lines, last.end))
}

fn sha256(bytes: &[u8]) -> String {
    const_hex::encode(Sha256::digest(bytes))
}

fn bad(line: usize, error: &serde_json::Error) -> FormatError {
    FormatError::Line {
        line,
        problem: shortened(&error.to_string()),
    }
}

/// How many characters of a text of the file a message repeats.
const SHOWN_CHARS: usize = 200;

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
