//! What an operator should know of a configuration that is not wrong.

use crate::config::{self, AuthMode};

/// What an operator should know of this configuration, in sentences.
pub fn warnings(config: &config::AuthConfig) -> Vec<String> {
    let (section, jwt) = match &config.mode {
        AuthMode::Jwt(jwt) => ("auth.jwt", (**jwt).clone()),
        AuthMode::Oidc(oidc) => ("auth.oidc", oidc.tokens()),
        AuthMode::TrustedHeader(header) => return wide_proxies(&config.proxies, header),
        _ => return Vec::new(),
    };
    let mut warnings = Vec::new();
    if jwt.accept_unverified_email && jwt.user_claim == "email" {
        warnings.push(format!(
            "{section}.accept_unverified_email is on: a person who can write an e-mail address at the provider can be any user \
             here, admins included"
        ));
    }
    const CHOSEN: [&str; 6] = ["name", "nickname", "preferred_username", "given_name", "family_name", "upn"];
    if CHOSEN.contains(&jwt.user_claim.as_str()) {
        warnings.push(format!(
            "{section}.user_claim is {}: at many providers people choose it themselves, and it may pass from one person to \
             another; sub is the one that stays (OpenID Connect Core 1.0, 5.7)",
            jwt.user_claim
        ));
    }
    if matches!(jwt.key, config::JwtKey::Jwks(_)) {
        for (key, missing) in [("issuer", jwt.issuer.is_none()), ("audience", jwt.audience.is_none())] {
            if missing {
                warnings.push(format!(
                    "{section} has no {key}: every token counts that is signed with the keys of {section}.jwks_url, also one \
                     that was given out to another program or by another tenant"
                ));
            }
        }
    }
    warnings
}

/// A proxy is believed whom it was called by. Who calls from within a network that is named as a whole can therefore say to be
/// the proxy whose word about users counts.
fn wide_proxies(proxies: &[ipnet::IpNet], header: &config::TrustedHeaderConfig) -> Vec<String> {
    let wide = proxies.iter().filter(|network| network.prefix_len() < network.max_prefix_len());
    let warn = |network: &ipnet::IpNet| {
        format!(
            "auth.proxies names the network {network}: everybody in it can say to be any user, by writing an address of \
             auth.trusted_header.from into X-Forwarded-For, and {}; name the proxies one by one, or let nobody else into \
             that network",
            header.user
        )
    };
    wide.filter(|network| !network.addr().is_loopback()).map(warn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_proxies_that_may_say_who_calls_is_warned_of() {
        let mode = AuthMode::TrustedHeader(config::TrustedHeaderConfig {
            user: "x-remote-user".into(),
            groups: None,
            from: vec!["10.0.0.9/32".parse().unwrap()],
        });
        let warned = |proxies: &[&str]| {
            let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
            warnings(&config::AuthConfig { mode: mode.clone(), proxies, ..config::AuthConfig::default() })
        };
        assert!(warned(&["10.0.0.7/32", "2001:db8::1/128", "127.0.0.0/8"]).is_empty());
        let warned = warned(&["10.0.0.7/32", "10.0.0.0/8"]);
        assert!(warned.len() == 1 && warned[0].contains("10.0.0.0/8"), "{warned:?}");
    }
}
