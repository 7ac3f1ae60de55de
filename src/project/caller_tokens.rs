//! Whether the access tokens of callers can come to the runs that need them: what only `secrets:` and `auth:` together can tell.

use crate::config::{AuthMode, Config, SecretSource};
use crate::problem::{Problem, Problems};
use crate::seal::Sealer;

/// Refuses secrets that are the caller's token where no caller shows one that an API could take.
pub fn check_caller_tokens(config: &Config) -> Result<(), Problems> {
    let why = match config.auth.mode {
        AuthMode::Jwt(_) | AuthMode::Oidc(_) => return Ok(()),
        AuthMode::None => "auth.mode is none: nobody says who calls",
        AuthMode::Basic { .. } => "auth.mode is basic: callers show passwords and tokens of this gateway",
        AuthMode::ApiKey => "auth.mode is api_key: callers show keys of this gateway",
        AuthMode::TrustedHeader(_) => "auth.mode is trusted_header: a proxy says who calls, and shows no token",
    };
    let message = format!("no caller has an access token that could be passed on, as {why}");
    let hint =
        "set auth.mode to jwt, or to oidc for people at the page; or say another place that the secret comes from";
    let problems = places(config).map(|place| Problem { message: message.clone(), ..place.clone() }.with_hint(hint));
    Problems::refuse(problems.collect())
}

/// Refuses secrets that are the caller's token where nothing could seal it on its way from the gateway to the worker.
pub fn check_caller_token_key(config: &Config, sealer: Option<&Sealer>) -> Result<(), Problems> {
    if sealer.is_some() {
        return Ok(());
    }
    let message = "the caller's token is stored only sealed, and there is no seal_key";
    let hint = "set seal_key, the same for every gateway and worker: it is a secret of 32 or more random characters";
    let problems = places(config).map(|place| Problem { message: message.to_owned(), ..place.clone() }.with_hint(hint));
    Problems::refuse(problems.collect())
}

/// Whether there are such secrets.
pub fn has_caller_tokens(config: &Config) -> bool {
    places(config).next().is_some()
}

/// Where it says that a secret is the caller's token.
fn places(config: &Config) -> impl Iterator<Item = &Problem> {
    config.secrets.values().filter_map(|secret| match &secret.source {
        SecretSource::Caller(place) => Some(&**place),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(auth: &str) -> Config {
        let text = format!(
            "version: 1\nllms: {{ default: {{ provider: scripted }} }}\nauth: {auth}\n\
             secrets: {{ crm: {{ from: caller, hosts: [crm.example] }} }}\n"
        );
        crate::config::from_text(Path::new("fastagency.yaml"), &text, Path::new(""), &|_| None).unwrap()
    }

    #[test]
    fn a_caller_without_a_token_of_another_server_cannot_pass_one_on() {
        for (auth, mode) in [
            ("{ mode: none }", "none"),
            ("{ mode: basic, file: users.yaml }", "basic"),
            ("{ mode: api_key, file: users.yaml }", "api_key"),
            ("{ mode: trusted_header, trusted_header: { user: X-User, from: [127.0.0.1] } }", "trusted_header"),
        ] {
            let problems = check_caller_tokens(&config(auth)).unwrap_err().to_string();
            let words = format!("no caller has an access token that could be passed on, as auth.mode is {mode}: ");
            assert!(problems.contains(&words) && problems.contains("fastagency.yaml:4:"), "{problems}");
        }
        let jwt =
            config("{ mode: jwt, jwt: { algorithms: [HS256], secret: a secret long enough to be one of these } }");
        assert!(check_caller_tokens(&jwt).is_ok() && has_caller_tokens(&jwt));
        let problems = check_caller_token_key(&jwt, None).unwrap_err().to_string();
        assert!(problems.contains("there is no seal_key"), "{problems}");
        assert!(check_caller_token_key(&jwt, Some(&Sealer::new("key".into()))).is_ok());
    }
}
