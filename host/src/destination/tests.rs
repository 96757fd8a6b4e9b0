use super::*;

fn allowed(entry: &str, url: &str) -> bool {
    let destination: Destination = entry.parse().unwrap_or_else(|error| panic!("{entry}: {error}"));
    let (scheme, authority) = url.split_once("://").expect("a URL");
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    Origin::parse(scheme, authority).is_some_and(|origin| destination.includes(&origin))
}

#[test]
fn scheme_host_and_port_must_all_be_the_same() {
    let entry = "https://api.example.com";
    assert!(allowed(entry, "https://api.example.com") && allowed(entry, "https://API.example.com:443"));
    for other in [
        "http://api.example.com",
        "http://api.example.com:443",
        "https://api.example.com:8443",
        "https://example.com",
        "https://x.api.example.com",
        "https://api.example.com.evil.org",
        "https://api.example.com@evil.org",
        "https://api.example.com.",
        "https://api.example.com:",
        "https://api.example.com:0443x",
        "https://",
    ] {
        assert!(!allowed(entry, other), "{other}");
    }
    assert!(allowed("http://x:8080", "http://x:8080") && !allowed("http://x:8080", "http://x"));
}

#[test]
fn a_star_stands_for_whole_labels_below_a_name() {
    let entry = "https://*.example.com:8443";
    assert!(allowed(entry, "https://a.example.com:8443") && allowed(entry, "https://a.b.EXAMPLE.com:8443"));
    for other in ["example.com", "evilexample.com", ".example.com", "example.com.evil.org", "1.2.3.4", "[::1]"] {
        assert!(!allowed(entry, &format!("https://{other}:8443")), "{other}");
    }
}

#[test]
fn addresses_are_allowed_by_their_value_and_by_nothing_else() {
    assert!(allowed("http://127.0.0.1", "http://127.0.0.1") && allowed("http://[::1]:81", "http://[0:0::1]:81"));
    for other in ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01", "[::ffff:127.0.0.1]", "localhost"] {
        assert!(!allowed("http://127.0.0.1", &format!("http://{other}")), "{other}");
    }
    assert!(!allowed("http://*.com", "http://127.0.0.1"));
}

#[test]
fn what_is_read_is_written_in_one_form() {
    for (written, form) in [
        ("https://API.Example.com:443", "https://api.example.com"),
        ("http://*.example.com:80", "http://*.example.com"),
        ("http://[0::1]:8080", "http://[::1]:8080"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    ] {
        let destination: Destination = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(destination.to_string(), form);
        assert_eq!(form.parse(), Ok(destination));
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (entry, why) in [
        ("api.example.com", "the scheme is missing"),
        ("ftp://example.com", "neither http nor https"),
        ("https://example.com/v1", "no path"),
        ("https://me@example.com", "no user"),
        ("https://example.com:0", "the port"),
        ("https://example.com:65536", "the port"),
        ("https://", "neither a name nor an address"),
        ("https://*", "neither a name nor an address"),
        ("https://a.*.example.com", "neither a name nor an address"),
        ("https://**.example.com", "neither a name nor an address"),
        ("https://*.1.2.3.4", "no names below an address"),
        ("https://127.1", "four numbers"),
        ("https://[::1", "the port"),
        ("https://[1.2.3.4]", "no IPv6 address"),
        ("https://bücher.example", "neither a name nor an address"),
    ] {
        let error = entry.parse::<Destination>().expect_err(entry).to_string();
        assert!(error.contains(why) && error.contains("scheme://host"), "{entry}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|(https?://)?[a-z0-9.*:\\[\\]@/-]{0,30}") {
        if let Ok(destination) = text.parse::<Destination>() {
            proptest::prop_assert_eq!(destination.to_string().parse(), Ok(destination));
        }
        let _ = Origin::parse(Scheme::Http, &text);
    }
}
