//! Which proxy stands between this process and a server: what is said of it where something fails.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

/// The variables that name proxies, for each scheme in the order in which the client looks at them.
const VARIABLES: [(&str, [&str; 4]); 2] = [
    ("http", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
    ("https", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
];

/// The proxy that a request to this address goes through, in words; none: it goes there itself. The words hold no password.
pub(super) fn proxy_for(url: &Url) -> Option<String> {
    // The client reads the same.
    let proxy = Matcher::from_env().intercept(&url.as_str().parse().ok()?)?;
    let (scheme, place) = (proxy.uri().scheme_str().unwrap_or("http"), proxy.uri().authority()?.as_str());
    let place = place.rsplit('@').next().unwrap_or_default();
    let (_, variables) = VARIABLES.iter().find(|(scheme, _)| *scheme == url.scheme())?;
    let is_set = |name: &&&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let variable = variables.iter().find(is_set).unwrap_or(&variables[0]);
    Some(format!("the proxy {scheme}://{place} ({variable}; hosts in NO_PROXY are asked without it)"))
}
