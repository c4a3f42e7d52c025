//! Reading PEM files.

use std::{io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject as _},
};

use crate::error::{MAX_FILE_BYTES, TlsError, TlsProblem};

/// The mode bits that let other users read a file.
const READABLE_BY_OTHERS: u32 = 0o004;

/// Reads `path`, if it is of a reasonable length.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let refuse = |problem| TlsError::new(path, problem);
    let unreadable = |error| refuse(TlsProblem::Unreadable(error));
    let mut content = Vec::new();
    state_file::open_plain(path)
        .map_err(unreadable)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse(TlsProblem::TooLong));
    }
    Ok(content)
}

/// Whether every user of this machine can read `path`.
pub(crate) fn is_readable_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.mode() & READABLE_BY_OTHERS != 0)
}

/// The certificates in `content`, of which there is at least one.
pub(crate) fn certificates(
    path: &Path,
    content: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    match all {
        Ok(all) if all.is_empty() => Err(TlsError::new(path, TlsProblem::NoCertificate)),
        Ok(all) => Ok(all),
        Err(error) => Err(not_pem(path, &error)),
    }
}

/// The one private key in `content`.
pub(crate) fn key(path: &Path, content: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let all: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(content).collect();
    let mut all = all.map_err(|error| not_pem(path, &error))?;
    match (all.pop(), all.len()) {
        (None, _) => Err(TlsError::new(path, TlsProblem::NoKey)),
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(TlsError::new(path, TlsProblem::SeveralKeys(others + 1))),
    }
}

/// The text of the error does not repeat the file's content, which may be a key.
fn not_pem(path: &Path, error: &PemError) -> TlsError {
    let reason = match error {
        PemError::MissingSectionEnd { .. } => "a section has no end",
        PemError::IllegalSectionStart { .. } => "the first line of a section is wrong",
        PemError::Base64Decode(_) => "a section is not Base64",
        _ => "it cannot be decoded",
    };
    TlsError::new(path, TlsProblem::NotPem(reason.to_owned()))
}
