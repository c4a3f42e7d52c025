//! TLS on both daemons: one port, renewal under load, clients that do not finish a handshake.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use child_process::succeed;
use test_certificates::{Authority, Files};
use test_client::chain;
use test_clock::wait_for;
use test_cluster::{Cluster, Orchestrator, Setting};
use test_tools::{Packages, Tool};
use tls_config::{
    ClientTls, Trust,
    rustls::{ClientConfig, ClientConnection, pki_types::ServerName},
};
use tls_ureq::{TlsConnector, explain};
use ureq::{
    Agent,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};

const SOON: Duration = Duration::from_secs(90);
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// As many as the requirement names.
const SLOW_CLIENTS: usize = 1000;
/// A handshake has ten seconds from its first byte.
const ALL_CLOSED: Duration = Duration::from_secs(15);
/// The first bytes of a handshake.
const HALF_A_HANDSHAKE: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00];

/// A CA, its file, and the files of one certificate.
pub(crate) struct Pki {
    ca: Authority,
    ca_file: PathBuf,
    directory: PathBuf,
    files: Files,
}

impl Pki {
    pub(crate) fn new(cluster: &Cluster) -> Result<Self> {
        let directory = cluster.directory().join("tls");
        fs::create_dir(&directory)?;
        let ca = Authority::new()?;
        let ca_file = directory.join("ca.pem");
        fs::write(&ca_file, ca.certificate())?;
        let files = ca.issue(&NAMES)?.followed_by(&ca).write(&directory)?;
        Ok(Self {
            ca,
            ca_file,
            directory,
            files,
        })
    }

    /// The settings of a daemon that has a certificate and trusts the CA.
    pub(crate) fn settings(&self, prefix: &str) -> Vec<(String, String)> {
        [
            ("TLS_CERT_FILE", &self.files.certificate),
            ("TLS_KEY_FILE", &self.files.key),
            ("TLS_CA_FILE", &self.ca_file),
        ]
        .map(|(name, file)| (format!("{prefix}{name}"), file.display().to_string()))
        .to_vec()
    }

    /// How a client that speaks only HTTP/2 begins.
    pub(crate) fn http2(&self) -> Result<Arc<ClientConfig>> {
        let tls = ClientTls::load(Trust::CaFile(self.ca_file.clone()), None)?;
        let mut config = ClientConfig::clone(&*tls.config()?);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn renew(&self) -> Result<()> {
        let renewed = self.ca.issue(&NAMES)?.followed_by(&self.ca);
        renewed.write(&self.directory).map(drop)
    }

    /// A client that trusts the CA, with connections of its own.
    fn client(&self, url: &str) -> Result<Client> {
        let tls = ClientTls::load(Trust::CaFile(self.ca_file.clone()), None)?;
        Ok(Client::new(url, tls))
    }
}

/// A client over TLS.
struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    fn new(url: &str, tls: ClientTls) -> Self {
        let connector = ().chain(TcpConnector::default()).chain(TlsConnector::new(tls));
        let config = Agent::config_builder().proxy(None).build();
        Self {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            url: url.to_owned(),
        }
    }

    fn model_names(&self) -> Result<String> {
        self.get("/v1/models")
    }

    fn get(&self, path: &str) -> Result<String> {
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        let mut answer = answer.map_err(|error| {
            let reason = explain(&error).unwrap_or_else(|| error.to_string());
            anyhow::anyhow!(reason)
        })?;
        Ok(answer.body_mut().read_to_string()?)
    }
}

pub(crate) fn borrowed(settings: &[(String, String)]) -> Vec<Setting<'_>> {
    let pairs = settings.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn https(orchestrator: &Orchestrator) -> String {
    orchestrator.url().replace("http://", "https://")
}

/// The version of HTTP by which `curl` got `/v1/models`.
fn version_by_curl(ca_file: &Path, url: &str, arguments: &[&str]) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--output",
        "/dev/null",
    ])
    .args(["--write-out", "%{http_version}", "--cacert"])
    .arg(ca_file)
    .args(arguments)
    .arg(format!("{url}/v1/models"));
    succeed(&mut curl)
}

// spec: TLS-3, TLS-10, TLS-14, TLS-21
#[test]
fn requests_pass_from_client_to_node_over_tls() -> Result<()> {
    Cluster::test("tls", |cluster| {
        let pki = Pki::new(cluster)?;
        let settings = pki.settings("ORCHESTRATORD_");
        let orchestrator = cluster.orchestrator(&borrowed(&settings))?;
        let url = https(&orchestrator);
        let mut settings = pki.settings("POOL_MANAGERD_");
        settings.push(("ORCHESTRATORD_URL".to_owned(), url.clone()));
        let node = cluster.node("node-a", &orchestrator, &borrowed(&settings))?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        // Plain HTTP, on the same port, from the same machine.
        let plain = orchestrator.client();
        wait_for("an answer", SOON, || {
            plain.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(plain.chat(10)?.text()?, chain(10));
        let known = orchestrator
            .node("node-a")
            .context("the node is not known")?;
        let address = known["address"].as_str().unwrap_or_default();
        ensure!(address.starts_with("https://"), "{address}");
        assert!(!pki.client(&url)?.model_names()?.is_empty());
        if Tool::Curl.is_here()? {
            for (argument, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
                assert_eq!(version_by_curl(&pki.ca_file, &url, &[argument])?, version);
            }
        }
        // A client that does not trust the CA.
        let error = Client::new(&url, ClientTls::system())
            .model_names()
            .unwrap_err();
        ensure!(error.to_string().contains("not trusted here"), "{error}");
        Ok(())
    })
}

// spec: TLS-2
#[test]
fn renewals_under_load_fail_no_request() -> Result<()> {
    Cluster::test("tls-renewal", |cluster| {
        let pki = Pki::new(cluster)?;
        let settings = pki.settings("ORCHESTRATORD_");
        let orchestrator = cluster.home(&borrowed(&settings))?;
        let log = orchestrator.log()?;
        let (url, stop) = (https(&orchestrator), AtomicBool::new(false));
        let (answered, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            let load = || {
                while !stop.load(Ordering::Relaxed) {
                    // A new connection for each request.
                    let names = pki.client(&url).map(|client| client.model_names());
                    let counter = if matches!(names, Ok(Ok(_))) {
                        &answered
                    } else {
                        &failed
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            };
            scope.spawn(load);
            scope.spawn(load);
            let renewals = (1..=3).try_for_each(|round| {
                let before = answered.load(Ordering::Relaxed);
                pki.renew()?;
                wait_for("the renewed certificate", SOON, || {
                    let text = log.text();
                    text.matches("the changed TLS files are in use").count() >= round
                })?;
                wait_for("requests", SOON, || {
                    answered.load(Ordering::Relaxed) > before + 10
                })
            });
            stop.store(true, Ordering::Relaxed);
            renewals
        })?;
        assert_eq!(failed.load(Ordering::Relaxed), 0);
        fs::write(&pki.files.certificate, "no certificate")?;
        wait_for("the warning", SOON, || {
            log.text().contains("certificate.pem: holds no certificate")
        })?;
        pki.client(&url)?.model_names()?;
        Ok(())
    })
}

/// The certificate that a server presents.
fn presented(address: &str, config: &Arc<ClientConfig>) -> Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(address)?;
    let name = ServerName::try_from("localhost")?;
    let mut tls = ClientConnection::new(Arc::clone(config), name)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    let chain = tls.peer_certificates().context("no certificate")?;
    Ok(chain.first().context("an empty chain")?.to_vec())
}

// spec: TLS-17
#[test]
fn the_metrics_listeners_serve_tls_and_renew_their_certificate() -> Result<()> {
    Cluster::test("tls-metrics", |cluster| {
        let pki = Pki::new(cluster)?;
        let with_metrics = |prefix: &str| {
            let mut settings = pki.settings(prefix);
            let name = format!("{prefix}METRICS_ADDR");
            settings.push((name, "127.0.0.1:0".to_owned()));
            settings
        };
        let settings = with_metrics("ORCHESTRATORD_");
        let orchestrator = cluster.orchestrator(&borrowed(&settings))?;
        let settings = with_metrics("POOL_MANAGERD_");
        let _node = cluster.node("node-a", &orchestrator, &borrowed(&settings))?;
        let client = orchestrator.client();
        wait_for("both listeners", SOON, || {
            let groups = client.get_json("/v2/sd/prometheus");
            groups.is_ok_and(|groups| groups.as_array().is_some_and(|all| all.len() == 2))
        })?;
        let groups = client.get_json("/v2/sd/prometheus")?;
        let config = pki.http2()?;
        for (group, daemon) in [(0, "orchestratord"), (1, "pool-managerd")] {
            let target = groups[group]["targets"][0].as_str().context("no target")?;
            ensure!(!orchestrator.url().ends_with(target), "{target}");
            let over_tls = pki.client(&format!("https://{target}"))?;
            let page = over_tls.get("/metrics")?;
            ensure!(page.contains(daemon), "{daemon}: {page}");
            // No token travels there, so plain HTTP is for everyone.
            let plain = test_client::Client::new(&format!("http://{target}"));
            assert_eq!(plain.get("/metrics")?.status, 200, "{daemon}");
            assert_eq!(plain.get("/v2/nodes")?.status, 404, "{daemon}");
            let stranger = Client::new(&format!("https://{target}"), ClientTls::system());
            let error = stranger.get("/metrics").unwrap_err();
            ensure!(error.to_string().contains("not trusted here"), "{error}");

            let before = presented(target, &config)?;
            pki.renew()?;
            wait_for("the renewed certificate", SOON, || {
                presented(target, &config).is_ok_and(|certificate| certificate != before)
            })?;
            ensure!(pki.client(&over_tls.url)?.get("/metrics")?.contains(daemon));
        }
        Ok(())
    })
}

/// Connections whose handshake has begun.
fn begin_handshakes(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let begin = |count: usize| {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&HALF_A_HANDSHAKE[..=count % (HALF_A_HANDSHAKE.len() - 1)])?;
        stream.set_read_timeout(Some(ALL_CLOSED))?;
        Ok(stream)
    };
    (0..SLOW_CLIENTS).map(begin).collect()
}

// spec: TLS-11
#[test]
fn a_thousand_unfinished_handshakes_are_closed_while_others_are_served() -> Result<()> {
    Cluster::test("tls-slow", |cluster| {
        let pki = Pki::new(cluster)?;
        let settings = pki.settings("ORCHESTRATORD_");
        let orchestrator = cluster.home(&borrowed(&settings))?;
        let address = orchestrator.url().replace("http://", "").parse()?;
        let slow = begin_handshakes(address)?;
        assert_eq!(orchestrator.client().get("/health")?.status, 200);
        let over_tls = pki.client(&https(&orchestrator))?;
        over_tls.model_names()?;
        for mut stream in slow {
            // The end of the connection, or a reset; not the timeout of this read.
            let read = stream.read(&mut [0; 64]);
            let closed = match &read {
                Ok(count) => *count == 0,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            };
            ensure!(closed, "{read:?}");
        }
        assert_eq!(orchestrator.client().get("/health")?.status, 200);
        Ok(())
    })
}

// spec: TLS-3
#[test]
fn both_daemons_meet_mozillas_intermediate_profile() -> Result<()> {
    let sslyze = match Packages::install("sslyze", &["sslyze==6.3.1"]) {
        Ok(packages) => packages,
        Err(error) => return Tool::Sslyze.leave_out(&format!("{error:#}")),
    };
    Cluster::test("tls-profile", |cluster| {
        let pki = Pki::new(cluster)?;
        let settings = pki.settings("ORCHESTRATORD_");
        let orchestrator = cluster.orchestrator(&borrowed(&settings))?;
        let settings = pki.settings("POOL_MANAGERD_");
        let node = cluster.node("node-a", &orchestrator, &borrowed(&settings))?;
        for url in [orchestrator.url(), node.url()] {
            let mut scan = sslyze.python(&[])?;
            scan.args(["-m", "sslyze", "--mozilla_config=intermediate"])
                .arg("--certinfo_ca_file")
                .arg(&pki.ca_file)
                .arg(url.replace("http://127.0.0.1", "localhost"));
            let report = succeed(&mut scan)?;
            ensure!(report.contains("OK - Compliant"), "{report}");
        }
        Ok(())
    })
}
