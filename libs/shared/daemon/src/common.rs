//! The settings that every daemon has, one row for each.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
    thread,
    time::Duration,
};

use bearer_auth::ApiToken;
use http_server::HostName;
use stream_proxy::Timeouts;
use telemetry::LogFormat;
use tls_config::Fingerprint;

use crate::{
    require_auth::RequireAuth,
    secrets::TOKEN_VARIABLE,
    setting::{DescribeSetting, Setting, ValueKind},
};

/// An example for `METRICS_ADDR`: exporters for Prometheus often use this port.
const METRICS_EXAMPLE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9090);

/// The default number of connection threads is at most this: eight threads forward more than
/// engines generate.
const DEFAULT_MAX_THREADS: usize = 8;

/// A prompt with a dozen images inline.
const DEFAULT_MAX_BODY_MIB: usize = 32;

/// More threads than any machine has cores.
const MAX_THREADS: u64 = 1024;

pub(crate) static METRICS_ADDR: Setting<Option<SocketAddr>> =
    Setting::parsed_by("METRICS_ADDR", |_, name, text, problems| {
        problems.optional_socket_addr(name, text, METRICS_EXAMPLE)
    })
    .after_prefix()
    .unset_means("none: only at the listen address")
    .help("address for /metrics without a token")
    .document(
        "a second address that serves `/metrics` and `/health`, and nothing else, without a \
         token, for Prometheus; the listen address serves them as well",
    );

pub(crate) static CLOUD_PROFILE: Setting<bool> = Setting::flag("CLOUD_PROFILE", || false)
    .after_prefix()
    .help("CLOUD profile instead of HOME")
    .document(
        "`true`: the CLOUD profile, in which nodes join a control plane over HTTP; `false`: the \
         HOME profile, one machine",
    );

pub(crate) static TOKEN: Setting<Option<ApiToken>> =
    Setting::parsed_by(TOKEN_VARIABLE, |_, name, text, problems| {
        problems.secret(name, text, ApiToken::new)
    })
    .unset_means("none: loopback only")
    .help("token of clients and daemons")
    .document(
        "the token that clients and daemons present to each other, 8 to 1024 printable \
         characters. Without one only loopback peers are served, and no web page of another \
         origin. A reverse proxy on the same machine makes every peer a loopback peer: set a \
         token then",
    );

/// Whether a start without a token is refused.
pub static REQUIRE_AUTH: Setting<RequireAuth> =
    Setting::value("REQUIRE_AUTH", || RequireAuth::Never)
        .after_prefix()
        .of_kind(ValueKind::Switch)
        .help("refuse to start without a token")
        .document(
            "refuse to start without a token: `true`, or `beyond-loopback` for when other \
             machines can reach it",
        );

pub(crate) static KEYS_FILE: Setting<Option<PathBuf>> = Setting::optional_path("KEYS_FILE")
    .after_prefix()
    .help("keys of clients (TOML)")
    .document(
        "a file with [keys of clients](SECURITY.md#a-file-of-keys), read again when it changes. \
         With it every peer must present a token, loopback peers too",
    );

pub(crate) static ALLOWED_HOSTS: Setting<Option<Vec<HostName>>> = Setting::list("ALLOWED_HOSTS")
    .after_prefix()
    .unset_means("this machine's names")
    .help("other hosts served without a token")
    .document(
        "hosts that are served while no token is set, separated by commas: names of this daemon, \
         without a port. `localhost`, the addresses of this machine, its hostname and the host \
         of `POOL_MANAGERD_ADDRESS` are always served. A request for another host gets 403, \
         which stops DNS rebinding. With a token every host is served, as reverse proxies need \
         it",
    );

pub(crate) static TLS_CERT_FILE: Setting<Option<PathBuf>> = Setting::optional_path("TLS_CERT_FILE")
    .after_prefix()
    .unset_means("none: no TLS")
    .help("certificate of this server (PEM)")
    .document(
        "the certificate of this server, PEM, with those of the CAs between it and the root behind \
         it. The listen address then serves [TLS](TLS.md) and plain HTTP. The file is read again \
         when it changes",
    );

pub(crate) static TLS_KEY_FILE: Setting<Option<PathBuf>> = Setting::optional_path("TLS_KEY_FILE")
    .after_prefix()
    .help("its private key (PEM)")
    .document(
        "the private key of the certificate, PEM, without a passphrase; readable by this user only",
    );

pub(crate) static TLS_CLIENT_CA_FILE: Setting<Option<PathBuf>> =
    Setting::optional_path("TLS_CLIENT_CA_FILE")
        .after_prefix()
        .help("CA of client certificates (PEM)")
        .document(
            "the CA of client certificates, PEM. A client may then present a certificate, and one \
             of another CA is refused; a client without one is served",
        );

pub(crate) static ALLOW_PLAIN_HTTP: Setting<bool> = Setting::flag("ALLOW_PLAIN_HTTP", || false)
    .after_prefix()
    .help("with TLS, plain HTTP from other machines")
    .document(
        "serve plain HTTP to other machines although TLS is configured. By default they get 403, \
         because a token that travels in clear text should not work. Peers on this machine are \
         served either way",
    );

pub(crate) static TLS_CA_FILE: Setting<Option<PathBuf>> = Setting::optional_path("TLS_CA_FILE")
    .after_prefix()
    .unset_means("the system's CAs")
    .help("CA of the servers it calls (PEM)")
    .document(
        "the CA of the servers with `https://` addresses that this daemon calls, PEM: nodes for \
         `orchestratord`, the control plane for `pool-managerd`. The file is read again when it \
         changes",
    );

pub(crate) static TLS_CA_SHA256: Setting<Option<Fingerprint>> = Setting::optional("TLS_CA_SHA256")
    .after_prefix()
    .help("its SHA-256 fingerprint instead")
    .document(
        "the SHA-256 fingerprint of that CA instead of a file, as `openssl x509 -noout \
             -fingerprint -sha256` prints it. The servers must present the CA's certificate behind \
             their own",
    );

/// The certificate and key that a daemon presents to the servers it calls.
pub static TLS_IDENTITY_FILE: Setting<Option<PathBuf>> =
    Setting::optional_path("TLS_IDENTITY_FILE")
        .after_prefix()
        .help("certificate and key for servers it calls (PEM)")
        .document(
            "the certificate that this daemon presents to servers with `https://` addresses, with \
             its private key in the same file, PEM. `pool-managerd join` and `llorch ca init` make \
             one: [joining](JOINING.md). The file is read again when it changes",
        );

/// The directory of handoff files.
pub static RUNTIME_DIR: Setting<PathBuf> =
    Setting::path("RUNTIME_DIR", || ".runtime/engines".into())
        .after_prefix()
        .help("directory of handoff files")
        .document(
            "the directory of handoff files, which announce engines; `orchestratord` uses its \
             own in HOME, `pool-managerd` in CLOUD",
        );

/// The directory for everything that outlives the process.
pub static STATE_DIR: Setting<PathBuf> = Setting::path("STATE_DIR", || ".runtime/state".into())
    .after_prefix()
    .help("what it remembers across restarts")
    .document(
        "the directory for what outlives a restart: known nodes, drains, node ids and \
         incarnations, and the engines that it started, with their logs. One process at a time. \
         In HOME without a pool file it need not be writable: drains are forgotten then",
    );

/// The directory of handoff files that survive a restart of the machine.
pub static ENGINES_DIR: Setting<Option<PathBuf>> = Setting::optional_path("ENGINES_DIR")
    .after_prefix()
    .unset_means("handoffs in the state directory")
    .help("directory of persistent handoffs")
    .document(
        "the directory of handoff files that survive a restart of the machine, as `llorch engine \
         add` writes them: [discovery](DISCOVERY.md). Their engines get requests after their first \
         good probe. Used in the profiles in which the directory of handoff \
         files is",
    );

/// How often this machine is searched for engines.
pub static SCAN_INTERVAL: Setting<Duration> =
    Setting::seconds("SCAN_INTERVAL_SECS", || Duration::ZERO, 0..=86_400)
        .after_prefix()
        .help("interval of scans for engines; 0: none")
        .document(
            "how often this machine is [searched for engines](DISCOVERY.md#scans); 0, the default, \
             is never. What is found is offered after its first good probe",
        );

/// Where engines usually are.
pub static SCAN_PORTS: Setting<Option<Vec<NonZeroU16>>> = Setting::list("SCAN_PORTS")
    .after_prefix()
    .unset_means("the usual ones")
    .help("ports at which scans look for engines")
    .document(
        "the ports at which a scan looks on loopback, separated by commas; by default \
         8000,8080,8081,11434,30000,1234,5000. Ports that containers publish are looked at as well",
    );

pub(crate) static FIRST_BYTE_TIMEOUT: Setting<Duration> = Setting::millis(
    "FIRST_BYTE_TIMEOUT_MS",
    || Timeouts::default().first_byte,
    1..=86_400_000,
)
.after_prefix()
.help("longest time to an engine's first byte")
.document(
    "the longest time until the first byte of a streamed answer; `orchestratord` and the node \
     each have a limit, and the shorter one counts",
);

pub(crate) static MAX_BODY: Setting<usize> =
    Setting::integer("MAX_BODY_MIB", || DEFAULT_MAX_BODY_MIB, 1..=4096)
        .after_prefix()
        .help("largest request body in MiB")
        .document(
            "the largest request body in MiB, also after it is decoded; more get 413. Each request \
             in progress holds its body in memory. `orchestratord` and the nodes each have this \
             limit",
        );

pub(crate) static THREADS: Setting<NonZeroUsize> =
    Setting::threads("THREADS", default_threads, MAX_THREADS)
        .after_prefix()
        .unset_means("one per core, at most 8")
        .help("threads that serve connections")
        .document("number of threads that serve connections; each connection stays on its thread");

/// The default is two minutes, because a long answer takes one or two.
pub(crate) static DRAIN_TIMEOUT: Setting<Duration> = Setting::seconds(
    "DRAIN_TIMEOUT_SECS",
    || Duration::from_secs(120),
    0..=86_400,
)
.after_prefix()
.help("how long a stop waits for requests")
.document("how long a stop waits for running requests");

pub(crate) static LOG_FORMAT: Setting<LogFormat> = Setting::value("LOG_FORMAT", || LogFormat::Text)
    .after_prefix()
    .help("text or json");

pub(crate) static AUDIT_FILE: Setting<Option<PathBuf>> = Setting::optional("AUDIT_FILE")
    .after_prefix()
    .unset_means("none: only the log")
    .help("file of the audit log")
    .document(
        "a file that gets one JSON line for each change of an operator and for each refused \
         request, whatever `RUST_LOG` says; see [Audit](SECURITY.md#audit)",
    );

/// Read by the log library.
pub(crate) static LOG_FILTER: Setting<String> =
    Setting::value("RUST_LOG", || "info".to_owned()).help("log filter");

/// Read by OpenTelemetry, in builds that include it.
pub(crate) static SPANS: Setting<Option<String>> = Setting::optional("OTEL_EXPORTER_OTLP_ENDPOINT")
    .only_variable()
    .unset_means("none: no export")
    .help("OTLP collector (builds with otlp only)")
    .document(
        "the `http://` URL of an OTLP collector that gets the spans of requests. Only [builds \
         with the feature `otlp`](OBSERVABILITY.md#traces) read it, and no released binary is \
         one; `check` of other builds warns. These variables of OpenTelemetry hold as well: \
         `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (instead of it), `OTEL_EXPORTER_OTLP_HEADERS`, \
         `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, \
         `OTEL_TRACES_SAMPLER_ARG`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BSP_MAX_QUEUE_SIZE`, \
         `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`",
    );

/// All of them but the listen address, which is a row of each daemon.
pub(crate) static COMMON: &[&dyn DescribeSetting] = &[
    &METRICS_ADDR,
    &CLOUD_PROFILE,
    &TOKEN,
    &REQUIRE_AUTH,
    &KEYS_FILE,
    &ALLOWED_HOSTS,
    &TLS_CERT_FILE,
    &TLS_KEY_FILE,
    &TLS_CLIENT_CA_FILE,
    &ALLOW_PLAIN_HTTP,
    &TLS_CA_FILE,
    &TLS_CA_SHA256,
    &TLS_IDENTITY_FILE,
    &RUNTIME_DIR,
    &STATE_DIR,
    &ENGINES_DIR,
    &SCAN_INTERVAL,
    &SCAN_PORTS,
    &FIRST_BYTE_TIMEOUT,
    &MAX_BODY,
    &THREADS,
    &DRAIN_TIMEOUT,
    &LOG_FORMAT,
    &AUDIT_FILE,
    &LOG_FILTER,
    &SPANS,
];

/// One thread for each core that the process may use, up to a limit.
fn default_threads() -> NonZeroUsize {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    cores.min(NonZeroUsize::new(DEFAULT_MAX_THREADS).unwrap_or(NonZeroUsize::MIN))
}
