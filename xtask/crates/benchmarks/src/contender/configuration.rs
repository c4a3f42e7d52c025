//! The configurations of nginx and haproxy, made for this load as well as their manuals allow.

use std::{net::SocketAddr, path::Path};

use test_certificates::Files;

/// nginx with two workers: kept-alive connections on both sides, no access log, nothing held back,
/// and buffers that take a short stream whole (which it is fastest with).
pub(super) fn nginx(
    port: u16,
    engines: &[SocketAddr],
    directory: &Path,
    tls: Option<&Files>,
) -> String {
    let directory = directory.display();
    let servers = engines
        .iter()
        .map(|engine| format!("    server {engine};\n"));
    // The user of the workers must be able to write where root has made the directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    let (ssl, certificate) = tls.map_or_else(Default::default, |files| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let lines = format!(
            "    ssl_certificate {certificate};\n    ssl_certificate_key {key};\n    \
             ssl_protocols TLSv1.2 TLSv1.3;\n"
        );
        (" ssl", lines)
    });
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {directory}/{what};\n"));
    format!(
        "daemon off;\n{user}worker_processes 2;\npid {directory}/pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n{paths}\
         \x20 upstream engines {{\n{servers}    keepalive 256;\n    keepalive_requests \
          1000000000;\n  }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port}{ssl} reuseport \
          backlog=4096;\n{certificate}    keepalive_requests 1000000000;\n\
         \x20   location / {{\n      proxy_pass http://engines;\n      proxy_http_version \
          1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_buffering off;\n      proxy_buffer_size \
          64k;\n      \
         proxy_buffers 4 64k;\n      proxy_busy_buffers_size 64k;\n    }}\n  }}\n}}\n",
        paths = paths.concat(),
        servers = servers.collect::<String>(),
    )
}

/// haproxy with two threads, kept-alive and shared connections to the engines, and chunks passed on
/// at once.
pub(super) fn haproxy(
    port: u16,
    engines: &[SocketAddr],
    _directory: &Path,
    _tls: Option<&Files>,
) -> String {
    let servers = (0..).zip(engines).map(|(n, engine): (u32, _)| {
        format!("  server e{n} {engine} pool-max-conn 1024 pool-purge-delay 1h\n")
    });
    format!(
        "global\n  maxconn 16384\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 5s\n  \
         timeout client 300s\n  timeout server 300s\n  option http-keep-alive\n  option \
         http-no-delay\n  http-reuse always\nfrontend all\n  bind 127.0.0.1:{port} backlog 4096\n  \
         default_backend engines\nbackend engines\n  balance roundrobin\n{servers}",
        servers = servers.collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_the_port_and_every_engine() {
        let engines = ["127.0.0.1:1001", "127.0.0.1:1002"].map(|engine| engine.parse().unwrap());
        for text in [
            nginx(4242, &engines, Path::new("/d"), None),
            haproxy(4242, &engines, Path::new("/d"), None),
        ] {
            assert!(text.contains("127.0.0.1:4242"), "{text}");
            assert!(
                text.contains("127.0.0.1:1001") && text.contains("127.0.0.1:1002"),
                "{text}"
            );
        }
    }
}
