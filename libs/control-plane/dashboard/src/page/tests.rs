//! The page and its files as they are answered.

use std::io::Read as _;

use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;

use super::*;

fn ask(
    assets: &Assets,
    method: &Method,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> Response<Body> {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect();
    answer(assets, method, path, &headers)
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .to_vec()
}

// spec: DASH-1
#[tokio::test]
async fn every_file_that_a_file_names_is_there_and_nothing_comes_from_elsewhere() {
    let assets = Assets::new();
    let page = String::from_utf8(assets.page.plain.bytes.to_vec()).unwrap();
    let mut named = 0;
    for link in page
        .split(['"', ' '])
        .filter(|text| text.starts_with("/assets/"))
    {
        assert!(assets.file(link).is_some(), "the page names {link}");
        named += 1;
    }
    assert!(named > 2, "{page}");
    for path in assets.paths() {
        let file = String::from_utf8(assets.file(path).unwrap().plain.bytes.to_vec()).unwrap();
        let base = path.rsplit_once('/').unwrap().0;
        for import in file.split("from \"./").skip(1) {
            let name = import.split('"').next().unwrap();
            assert!(
                assets.file(&format!("{base}/{name}")).is_some(),
                "{path} imports {name}"
            );
        }
        // Names of XML are no addresses.
        let text = file.replace("http://www.w3.org/", "");
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{path} names another server"
        );
    }
    assert!(
        !page.contains("<script>") && !page.contains(" style=") && !page.contains(" onclick="),
        "inline"
    );
}

// spec: DASH-2
#[tokio::test]
async fn compressed_when_asked_for_and_the_same_either_way() {
    let assets = Assets::new();
    let path = assets
        .paths()
        .find(|path| path.ends_with("/app.js"))
        .unwrap();
    for (accepted, zipped) in [
        ("gzip", true),
        ("br, GZIP;q=0.5", true),
        ("gzip;q=0, br", false),
        ("identity", false),
    ] {
        let response = ask(&assets, &Method::GET, path, &[(ACCEPT_ENCODING, accepted)]);
        assert_eq!(
            response.headers().contains_key(CONTENT_ENCODING),
            zipped,
            "{accepted}"
        );
        assert_eq!(response.headers()[VARY], "accept-encoding");
        let sent = bytes(response).await;
        let plain = if zipped {
            let mut plain = Vec::new();
            GzDecoder::new(&sent[..]).read_to_end(&mut plain).unwrap();
            plain
        } else {
            sent
        };
        assert_eq!(plain, assets.file(path).unwrap().plain.bytes, "{accepted}");
    }
}

// spec: DASH-2
#[tokio::test]
async fn a_known_file_is_not_sent_again() {
    let assets = Assets::new();
    let first = ask(&assets, &Method::GET, "/", &[(ACCEPT_ENCODING, "gzip")]);
    let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
    assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let again = ask(&assets, &Method::GET, "/", &[(IF_NONE_MATCH, &known)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert!(bytes(again).await.is_empty());
    }
    let other = ask(&assets, &Method::GET, "/", &[(IF_NONE_MATCH, "\"other\"")]);
    assert_eq!(other.status(), StatusCode::OK);

    let path = assets.paths().next().unwrap();
    let file = ask(&assets, &Method::GET, path, &[]);
    assert!(
        file.headers()[CACHE_CONTROL]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
}

// spec: DASH-2
#[tokio::test]
async fn head_and_refusals() {
    let assets = Assets::new();
    let whole = ask(&assets, &Method::GET, "/", &[]);
    let head = ask(&assets, &Method::HEAD, "/", &[]);
    assert_eq!(head.headers(), whole.headers());
    let length = head.headers()[CONTENT_LENGTH].to_str().unwrap().parse();
    assert!(bytes(head).await.is_empty());
    assert_eq!(length, Ok(bytes(whole).await.len()));

    let post = ask(&assets, &Method::POST, "/", &[]);
    assert_eq!(
        (post.status(), &post.headers()[ALLOW]),
        (
            StatusCode::METHOD_NOT_ALLOWED,
            &HeaderValue::from_static("GET, HEAD")
        )
    );
    for path in [
        "/assets/",
        "/assets/app.js",
        "/assets/0000000000000000/app.js",
        "/assets/../Cargo.toml",
    ] {
        let response = ask(&assets, &Method::GET, path, &[]);
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!response.headers().contains_key(CACHE_CONTROL), "{path}");
    }
}

// spec: DASH-3
#[test]
fn a_browser_is_told_what_the_page_may_do() {
    let assets = Assets::new();
    for path in ["/"].into_iter().chain(assets.paths()) {
        let headers = ask(&assets, &Method::GET, path, &[]).headers().clone();
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "connect-src 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[REFERRER_POLICY], "no-referrer");
    }
}

// spec: DASH-4
#[test]
fn the_whole_page_is_small() {
    let assets = Assets::new();
    let files = assets.paths().filter_map(|path| assets.file(path));
    let sizes: Vec<usize> = files
        .chain([&assets.page])
        .map(|file| file.gzip.bytes.len())
        .collect();
    let all: usize = sizes.iter().sum();
    assert!(sizes.iter().all(|&size| size > 0), "{sizes:?}");
    assert!(all < 100_000, "{all} bytes");
}
