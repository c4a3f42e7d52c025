//! Which server and which token: from flags, then the environment, then the config file.

use std::{
    env, fmt,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use llorch_client::{ApiToken, Client, HttpUrl};
use tls_config::{ClientTls, Trust};
use toml::de::DeTable;

use crate::{args::Global, exit::Failure};

/// Where `orchestratord` listens by default.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// The name of this program in requests.
const USER_AGENT: &str = concat!("llorch/", env!("CARGO_PKG_VERSION"));
const URL_VARIABLE: &str = "LLORCH_URL";
const TOKEN_VARIABLE: &str = "LLORCH_API_TOKEN";
const CA_FILE_VARIABLE: &str = "LLORCH_TLS_CA_FILE";
const CA_SHA256_VARIABLE: &str = "LLORCH_TLS_CA_SHA256";
/// The mode bits with which other users can read a file.
const READ_BY_OTHERS: u32 = 0o044;
/// The limit on a config or token file. They have some hundred bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SettingSource {
    Flag(&'static str),
    Variable(&'static str),
    File(PathBuf),
    Default,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// The effective settings.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) url: HttpUrl,
    pub(crate) token: Option<(ApiToken, SettingSource)>,
    /// Which servers with TLS are trusted.
    pub(crate) tls: ClientTls,
    /// Warnings for the user.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Reads the flags, the environment and the config file.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let mut warnings = Vec::new();
        let file = match config_path(global.config.as_deref()) {
            Some((path, is_named)) => {
                read_config(&path, is_named, &mut warnings)?.map(|file| (path, file))
            }
            None => None,
        };
        let (path, file) = file.unwrap_or_default();
        let url = match &global.url {
            Some(url) => Some((url.clone(), SettingSource::Flag("--url"))),
            None => variable(URL_VARIABLE)?,
        };
        let url = url
            .or_else(|| file.url.map(|url| (url, SettingSource::File(path.clone()))))
            .unwrap_or_else(|| (DEFAULT_URL.to_owned(), SettingSource::Default));
        let token = match (&global.token, &global.token_file) {
            (Some(token), _) => Some((token.0.clone(), SettingSource::Flag("--token"))),
            (None, Some(path)) => Some((
                read_token(path, &mut warnings)?,
                SettingSource::File(path.clone()),
            )),
            (None, None) => variable(TOKEN_VARIABLE)?
                .or_else(|| file.token.map(|token| (token, SettingSource::File(path)))),
        };
        Ok(Self {
            url: parse_url(&url.0, &url.1)?,
            token: token
                .map(|(token, source)| parse_token(token, source))
                .transpose()?,
            tls: load_tls()?,
            warnings,
        })
    }

    /// A client with these settings.
    pub(crate) fn client(&self) -> Client {
        let builder = Client::builder(self.url.clone())
            .user_agent(USER_AGENT)
            .tls(self.tls.clone());
        match &self.token {
            Some((token, _)) => builder.token(token.clone()).build(),
            None => builder.build(),
        }
    }
}

/// The value of a variable; an empty one counts as not set.
fn variable(name: &'static str) -> Result<Option<(String, SettingSource)>, Failure> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some((value, SettingSource::Variable(name)))),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("{name} is not UTF-8 text")))
        }
    }
}

/// The CA of servers with TLS: a file, a fingerprint, or else those of the system.
fn load_tls() -> Result<ClientTls, Failure> {
    let trust = match (variable(CA_FILE_VARIABLE)?, variable(CA_SHA256_VARIABLE)?) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(format!(
                "{CA_FILE_VARIABLE} and {CA_SHA256_VARIABLE} are both set; unset one"
            )));
        }
        (Some((file, _)), None) => Trust::CaFile(file.into()),
        (None, Some((text, source))) => Trust::Pinned(
            text.parse()
                .map_err(|error| Failure::usage(format!("{source}: {error}")))?,
        ),
        (None, None) => return Ok(ClientTls::system()),
    };
    ClientTls::load(trust, None)
        .map_err(|error| Failure::usage(format!("{CA_FILE_VARIABLE}: {error}")))
}

fn parse_url(url: &str, source: &SettingSource) -> Result<HttpUrl, Failure> {
    if url.contains('@') {
        // The URL may contain a password, so the error does not repeat it.
        return Err(Failure::usage(format!(
            "{source}: the URL must not contain a user or a password"
        )));
    }
    HttpUrl::new(url).map_err(|error| Failure::usage(format!("{source}: {error}")))
}

fn parse_token(token: String, source: SettingSource) -> Result<(ApiToken, SettingSource), Failure> {
    match ApiToken::new(token) {
        Ok(token) => Ok((token, source)),
        Err(error) => Err(Failure::usage(format!("the token in {source} {error}"))),
    }
}

/// The path of the config file, and whether the user has named it.
fn config_path(named: Option<&Path>) -> Option<(PathBuf, bool)> {
    if let Some(path) = named {
        return Some((path.to_owned(), true));
    }
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some((base.join("llorch/config.toml"), false))
}

/// The fields of the config file.
#[derive(Default)]
struct ConfigFile {
    url: Option<String>,
    token: Option<String>,
}

fn read_config(
    path: &Path,
    is_named: bool,
    warnings: &mut Vec<String>,
) -> Result<Option<ConfigFile>, Failure> {
    let (text, mode) = match read_small(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(None),
        Err(error) => {
            return Err(Failure::usage(format!(
                "cannot read {}: {error}",
                path.display()
            )));
        }
    };
    let file = parse_config(&text).map_err(|(line, what)| {
        Failure::usage(format!("{}, line {line}: {what}", path.display()))
    })?;
    if file.token.is_some() {
        warn_if_readable(path, mode, warnings);
    }
    Ok(Some(file))
}

/// Parses the config file. An error has the line number and never a value, which may be the token.
fn parse_config(text: &str) -> Result<ConfigFile, (usize, String)> {
    let line = |offset: usize| {
        1 + text
            .bytes()
            .take(offset)
            .filter(|&byte| byte == b'\n')
            .count()
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        return Err((
            line(error.span().map_or(0, |span| span.start)),
            "this is not TOML; write: url = \"http://…\"".to_owned(),
        ));
    }
    let mut file = ConfigFile::default();
    for (key, value) in table.get_ref() {
        let at = line(key.span().start);
        let field = match key.get_ref().as_ref() {
            "url" => &mut file.url,
            "token" => &mut file.token,
            other => {
                return Err((
                    at,
                    format!(
                        "unknown key `{}`; there are `url` and `token`",
                        other.escape_debug()
                    ),
                ));
            }
        };
        let Some(text) = value.get_ref().as_str() else {
            return Err((
                at,
                format!("`{}` must be a string in quotes", key.get_ref()),
            ));
        };
        *field = Some(text.to_owned());
    }
    Ok(file)
}

fn read_token(path: &Path, warnings: &mut Vec<String>) -> Result<String, Failure> {
    let (token, mode) = read_small(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    warn_if_readable(path, mode, warnings);
    Ok(token)
}

fn warn_if_readable(path: &Path, mode: u32, warnings: &mut Vec<String>) {
    if mode & READ_BY_OTHERS != 0 {
        let path = path.display();
        warnings.push(format!(
            "{path} contains a token, and other users can read it; run: chmod 600 {path}"
        ));
    }
}

/// The text and the mode of a small file.
fn read_small(path: &Path) -> io::Result<(String, u32)> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => io::Error::other("it is not UTF-8 text"),
            _ => error,
        })?;
    Ok((text, metadata.permissions().mode()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-9f8e7d6c";

    // spec: CLI-4
    #[test]
    fn an_error_in_the_config_file_has_its_line_and_no_value() {
        for (text, line, what) in [
            (
                "url = \"http://h:1\"\ntokn = \"canary\"\n",
                2,
                "unknown key `tokn`",
            ),
            ("\n\ntoken = canary-9f8e7d6c\n", 3, "not TOML"),
            ("token = \"canary-9f8e7d6c\nurl = \"x\"", 1, "not TOML"),
            (
                "token = 12345678\n",
                1,
                "`token` must be a string in quotes",
            ),
            ("[server]\nurl = \"x\"", 1, "unknown key `server`"),
        ] {
            let Err((at, message)) = parse_config(text) else {
                panic!("accepted: {text}");
            };
            assert_eq!(at, line, "{text}: {message}");
            assert!(message.contains(what), "{message}");
            assert!(
                !message.contains("canary") && !message.contains("12345678"),
                "{message}"
            );
        }
    }

    // spec: CLI-3
    #[test]
    fn no_error_holds_a_secret() {
        let source = SettingSource::Flag("--url");
        for url in [
            format!("http://user:{CANARY}@h:1"),
            format!("https://user:{CANARY}@h:1"),
        ] {
            let shown = format!("{:?}", parse_url(&url, &source).unwrap_err());
            assert!(
                !shown.contains("canary") && shown.contains("--url"),
                "{shown}"
            );
        }
        let refused = parse_token(
            format!("{CANARY} {CANARY}"),
            SettingSource::Variable(TOKEN_VARIABLE),
        )
        .unwrap_err();
        let shown = format!("{refused:?}");
        assert!(
            !shown.contains("canary") && shown.contains(TOKEN_VARIABLE),
            "{shown}"
        );
    }
}
