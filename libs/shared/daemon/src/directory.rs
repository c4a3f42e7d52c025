//! Whether a directory or file that a setting names can be used. Nothing is created or changed.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::Access;

use crate::{program::Program, reader::SettingsReader, report::Report, setting::Setting};

/// The mode bit that lets every user remove and replace files of a directory, and the bit that
/// limits this to their owners.
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// What a daemon does in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryUse {
    /// It reads files of others. The directory may be created later.
    Read,
    /// It creates the directory and writes files.
    Write,
}

/// Why a directory cannot be used.
struct DirectoryProblem {
    /// It can never be used: the path, or a part of it, is a file.
    is_file: bool,
    found: String,
    /// What to do. It ends with "or set VARIABLE to …".
    hint: &'static str,
}

/// A directory that can be used.
enum Usable {
    Exists(Metadata),
    /// It does not exist yet, and may be created.
    Missing,
}

/// Reports whether the directory of `setting` can be used.
pub fn check_directory<T>(
    report: &mut Report,
    program: &Program,
    setting: &Setting<T>,
    path: &Path,
    purpose: DirectoryUse,
) {
    let variable = setting.variable(program.prefix);
    let shown = path.display();
    match look_at(path, purpose) {
        Ok(Usable::Exists(metadata)) if is_open_to_all(&metadata) => report.warning(
            variable,
            format!("every user of this machine can replace files in {shown}"),
            format!("chmod o-w {shown}"),
        ),
        Ok(Usable::Exists(_)) => {
            report.ok(variable, format!("{shown} can be {}", purpose.verb()));
        }
        Ok(Usable::Missing) => {
            let then = match purpose {
                DirectoryUse::Read => "no engine is announced",
                DirectoryUse::Write => "it will be created",
            };
            report.ok(variable, format!("{shown} does not exist yet; {then}"));
        }
        Err(DirectoryProblem { found, hint, .. }) => {
            let hint = format!("{hint}, or set {variable} to another directory");
            report.error(variable, found, hint);
        }
    }
}

/// Notes a problem of `setting` when its directory makes a start useless: a file is in its place,
/// or it must be written and cannot be. A directory that cannot be read may become readable while
/// the daemon runs, so that is no problem here.
pub fn require_directory(
    reader: &mut SettingsReader,
    setting: &Setting<PathBuf>,
    path: &Path,
    purpose: DirectoryUse,
) {
    let Err(problem) = look_at(path, purpose) else {
        return;
    };
    if problem.is_file || purpose == DirectoryUse::Write {
        let DirectoryProblem { found, hint, .. } = problem;
        let must = match purpose {
            DirectoryUse::Read => "must be a directory",
            DirectoryUse::Write => "must be a directory that this user can write",
        };
        reader.problem(setting, format!("{must}, but {found}; {hint}"));
    }
}

/// Notes a problem of `setting` when `path` exists and is no regular file: reading a pipe would
/// block the start. Returns whether the file may be read.
pub fn require_regular_file<T>(
    reader: &mut SettingsReader,
    setting: &Setting<T>,
    path: &Path,
) -> bool {
    let kind = match path.metadata() {
        Ok(found) if found.is_dir() => "a directory",
        Ok(found) if !found.is_file() => "a pipe, a socket or a device",
        // A file that is missing or unreadable has a better error when it is read.
        Ok(_) | Err(_) => return true,
    };
    let shown = path.display();
    let text = format!("must be the path of a regular file, but {shown} is {kind}");
    reader.problem(setting, text);
    false
}

impl DirectoryUse {
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "written",
        }
    }

    fn access(self) -> Access {
        match self {
            Self::Read => Access::READ_OK | Access::EXEC_OK,
            Self::Write => Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        }
    }
}

fn look_at(path: &Path, purpose: DirectoryUse) -> Result<Usable, DirectoryProblem> {
    let shown = path.display();
    match path.metadata() {
        Ok(found) if !found.is_dir() => Err(DirectoryProblem {
            is_file: true,
            found: format!("{shown} is not a directory"),
            hint: "remove that file",
        }),
        Ok(found) if rustix::fs::access(path, purpose.access()).is_err() => {
            let (verb, owner, mode) = (purpose.verb(), found.uid(), found.mode() & 0o7777);
            Err(DirectoryProblem {
                is_file: false,
                found: format!(
                    "{shown} cannot be {verb} by this user; it belongs to user {owner} with mode \
                     {mode:o}"
                ),
                hint: "chown or chmod it, run as its owner",
            })
        }
        Ok(found) => Ok(Usable::Exists(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(path, purpose),
        Err(error) => Err(DirectoryProblem {
            is_file: error.kind() == io::ErrorKind::NotADirectory,
            found: format!("{shown} cannot be opened: {error}"),
            hint: "correct the directories above it",
        }),
    }
}

/// The directory is created at the start, where its nearest existing parent allows that.
fn missing(path: &Path, purpose: DirectoryUse) -> Result<Usable, DirectoryProblem> {
    let here = Path::new(".");
    let mut parents = path.ancestors().skip(1).map(|parent| {
        if parent.as_os_str().is_empty() {
            here
        } else {
            parent
        }
    });
    let parent = parents.find(|parent| parent.exists()).unwrap_or(here);
    let can_create =
        parent.is_dir() && rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if purpose == DirectoryUse::Read || can_create {
        return Ok(Usable::Missing);
    }
    Err(DirectoryProblem {
        is_file: false,
        found: format!(
            "{} does not exist and cannot be created in {}",
            path.display(),
            parent.display()
        ),
        hint: "create it and give it to this user",
    })
}

fn is_open_to_all(metadata: &Metadata) -> bool {
    let mode = metadata.mode();
    mode & WRITABLE_BY_ALL != 0 && mode & STICKY == 0
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use service_runtime::env::Environment;

    use super::*;
    use crate::{STATE_DIR, Verdict, fixtures::DEMO};

    fn checked(path: &Path, purpose: DirectoryUse) -> (Verdict, String) {
        let mut report = Report::default();
        check_directory(&mut report, &DEMO, &STATE_DIR, path, purpose);
        let finding = &report.findings()[0];
        assert_eq!(finding.subject, "DEMO_STATE_DIR");
        assert_eq!(finding.hint.is_none(), finding.verdict == Verdict::Ok);
        (finding.verdict, finding.found.clone())
    }

    fn required(path: &Path, purpose: DirectoryUse) -> Result<(), String> {
        let none: [(&str, &str); 0] = [];
        let mut reader = SettingsReader::new(&DEMO, Environment::from_pairs(none));
        require_directory(&mut reader, &STATE_DIR, path, purpose);
        reader.finish().map_err(|problems| problems.to_string())
    }

    // spec: CHECK-3, CONF-25
    #[test]
    fn directories_are_checked_and_not_created() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        use DirectoryUse::{Read, Write};
        use Verdict::{Error, Ok, Warning};
        let cannot_be_created = PathBuf::from("/proc/1/nothing");
        for (path, purpose, verdict, found, starts) in [
            (root.path().to_owned(), Write, Ok, "can be written", true),
            (at("a/b"), Write, Ok, "will be created", true),
            (at("a/b"), Read, Ok, "does not exist yet", true),
            (at("file"), Read, Error, "is not a directory", false),
            (at("file/below"), Write, Error, "cannot be opened", false),
            (at("file/below"), Read, Error, "cannot be opened", false),
            (
                cannot_be_created,
                Write,
                Error,
                "cannot be created in",
                false,
            ),
            (at("open"), Read, Warning, "every user", true),
        ] {
            let (got, text) = checked(&path, purpose);
            assert_eq!(got, verdict, "{}: {text}", path.display());
            assert!(text.contains(found), "{text}");
            let required = required(&path, purpose);
            assert_eq!(required.is_ok(), starts, "{}: {required:?}", path.display());
        }
        assert!(!at("a").exists());
        let problem = required(&at("file"), Read).unwrap_err();
        assert!(
            problem.starts_with("DEMO_STATE_DIR: must be a directory, but "),
            "{problem}"
        );
    }
}
