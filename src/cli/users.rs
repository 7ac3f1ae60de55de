//! `fastagency user` and `fastagency key`: the file of users and keys.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::auth::{self, ApiKey, KeyScope, PasswordUser as Known, UserDirectory};
use crate::cli::outcome::CliError;
use crate::cli::{CommonArguments, project};

/// The shortest password that is taken.
const SHORTEST_PASSWORD: usize = 8;

/// Where users and keys are kept.
#[derive(Args)]
struct UsersFileArgument {
    /// The file, instead of `auth.file` in the configuration.
    #[arg(long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,
}

/// Manage password users.
#[derive(Args)]
pub(super) struct UserCommand {
    #[command(flatten)]
    place: UsersFileArgument,
    #[command(subcommand)]
    what: UserSubcommand,
}

#[derive(Subcommand)]
enum UserSubcommand {
    /// Add a user, or change a user's password. The password is asked for, or read from standard input.
    Add {
        /// The user's name.
        name: String,
        /// A group that the user belongs to (may be repeated).
        #[arg(short, long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Remove a user, and the keys that act as this user.
    Remove {
        /// The user's name.
        name: String,
    },
    /// List the users and their groups.
    List,
}

/// Manage API keys.
#[derive(Args)]
pub(super) struct KeyCommand {
    #[command(flatten)]
    place: UsersFileArgument,
    #[command(subcommand)]
    what: KeySubcommand,
}

#[derive(Subcommand)]
enum KeySubcommand {
    /// Create an API key (shown only once).
    Add {
        /// The key's name.
        name: String,
        /// The user that the key acts as.
        #[arg(short, long)]
        user: String,
        /// A group that the key belongs to (may be repeated).
        #[arg(short, long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// A scope that the key is limited to (may be repeated; default: everything that its user may do).
        #[arg(short, long = "scope", value_name = "SCOPE", value_parser = scope())]
        scopes: Vec<KeyScope>,
    },
    /// Remove a key.
    Remove {
        /// The key's name.
        name: String,
    },
    /// List the keys by name, with their users, groups and scopes.
    List,
}

impl UsersFileArgument {
    fn path(&self, common: &CommonArguments) -> Result<PathBuf, CliError> {
        if let Some(path) = &self.file {
            return Ok(path.clone());
        }
        project::load(common)?.auth.file.ok_or_else(|| {
            CliError::Usage("no file for users and keys: give --file, or set auth.file in the configuration".to_owned())
        })
    }
}

impl UserCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let path = self.place.path(&common)?;
        let mut people = read(&path)?;
        match self.what {
            UserSubcommand::Add { name, groups } => {
                let name = auth::composed(&name).into_owned();
                fits(&people, &name)?;
                let password = password(&name)?;
                let known = people.users.get(&name).cloned();
                let keys = keys_of(&people, &name);
                let groups = match &known {
                    // Another password is no other person.
                    Some(known) if groups.is_empty() => known.groups.clone(),
                    _ => groups,
                };
                // Keys of the one are not keys of the other: somebody of that name may have been here before.
                let account = match &known {
                    Some(known) => known.account.clone(),
                    None => Some(Known::new_account()),
                };
                let user = Known { password: auth::hash_password(&password), groups, account };
                people.users.insert(name.clone(), user);
                write(&people, &path)?;
                if known.is_some() {
                    println!(
                        "{name} was changed in {}; sessions and tokens of the old password end now",
                        path.display()
                    );
                } else {
                    println!("{name} was added in {}", path.display());
                }
                if !keys.is_empty() {
                    eprintln!(
                        "these keys act as {name}, and stay: {} (`fastagency key remove` ends one)",
                        keys.join(", ")
                    );
                }
            }
            UserSubcommand::Remove { name } => {
                let name = if people.users.contains_key(&name) { name } else { auth::composed(&name).into_owned() };
                if people.users.remove(&name).is_none() {
                    return Err(CliError::Usage(format!("there is no user {name:?} in {}", path.display())));
                }
                // A key acts as its user: it must not outlive that one.
                let keys = keys_of(&people, &name);
                people.keys.retain(|_, key| key.user != name);
                write(&people, &path)?;
                println!("{name} was removed from {}; sessions and tokens of {name} end now", path.display());
                if !keys.is_empty() {
                    println!("the keys that acted as {name} were removed, too: {}", keys.join(", "));
                }
            }
            UserSubcommand::List => {
                for (name, user) in &people.users {
                    println!("{name}{}", in_groups(&user.groups));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl KeyCommand {
    pub(super) async fn run(self, common: CommonArguments) -> Result<ExitCode, CliError> {
        let path = self.place.path(&common)?;
        let mut people = read(&path)?;
        match self.what {
            KeySubcommand::Add { name, user, groups, scopes } => {
                if people.keys.contains_key(&name) {
                    return Err(CliError::Usage(format!("there is a key {name:?} already; remove it first")));
                }
                if user.is_empty() {
                    return Err(CliError::Usage("a key needs a user".to_owned()));
                }
                let account = match people.users.get_mut(&user) {
                    Some(known) => Some(known.account.get_or_insert_with(Known::new_account).clone()),
                    None => None,
                };
                if account.is_none() && !people.users.is_empty() {
                    eprintln!(
                        "there is no user {user:?} in {}: the key belongs to a program of this name",
                        path.display()
                    );
                }
                let (key, sha256) = auth::new_key();
                people.keys.insert(name, ApiKey { sha256, user, groups, scopes, account });
                write(&people, &path)?;
                eprintln!("this key is shown only once; send it as `Authorization: Bearer …` or `X-API-Key`");
                println!("{key}");
            }
            KeySubcommand::Remove { name } => {
                if people.keys.remove(&name).is_none() {
                    return Err(CliError::Usage(format!("there is no key {name:?} in {}", path.display())));
                }
                write(&people, &path)?;
                println!("{name} was removed from {}", path.display());
            }
            KeySubcommand::List => {
                for (name, key) in &people.keys {
                    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
                    let only = if scopes.is_empty() { String::new() } else { format!(", only {}", scopes.join(", ")) };
                    let gone = if people.counts(key) { "" } else { ": counts no more, the user was removed" };
                    println!("{name}: user {}{}{only}{gone}", key.user, in_groups(&key.groups));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses the name of a user that cannot be one, or that people would take for another user's.
fn fits(people: &UserDirectory, name: &str) -> Result<(), CliError> {
    if name.is_empty() || name.contains(':') {
        return Err(CliError::Usage("a user's name must not be empty, and has no colon in it".to_owned()));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(CliError::Usage(
            "a user's name must not begin or end with a blank, or have a control character".to_owned(),
        ));
    }
    let same = |other: &&String| other.to_lowercase() == name.to_lowercase() && other.as_str() != name;
    if let Some(other) = people.users.keys().find(same) {
        return Err(CliError::Usage(format!("there is a user {other:?} already, whom people would take for {name:?}")));
    }
    Ok(())
}

/// The names of the keys that act as a user.
fn keys_of(people: &UserDirectory, user: &str) -> Vec<String> {
    people.keys.iter().filter(|(_, key)| key.user == user).map(|(name, _)| name.clone()).collect()
}

/// A scope, by its name.
fn scope() -> impl TypedValueParser<Value = KeyScope> {
    PossibleValuesParser::new(KeyScope::ALL.map(KeyScope::name))
        .map(|name| KeyScope::ALL.into_iter().find(|scope| scope.name() == name).expect("one of these names"))
}

fn read(path: &std::path::Path) -> Result<UserDirectory, CliError> {
    UserDirectory::read(path).map_err(|error| CliError::Usage(crate::problem::chain(&error)))
}

fn write(people: &UserDirectory, path: &std::path::Path) -> Result<(), CliError> {
    Ok(people.write(path).context("the file was not changed")?)
}

fn in_groups(groups: &[String]) -> String {
    if groups.is_empty() { String::new() } else { format!(" ({})", groups.join(", ")) }
}

/// Asks for a password twice, or reads one line where nobody can be asked.
fn password(name: &str) -> Result<String, CliError> {
    let password = if std::io::stdin().is_terminal() {
        inquire::Password::new(&format!("Password of {name}:"))
            .with_display_mode(inquire::PasswordDisplayMode::Masked)
            .prompt()
            .context("no password was given")?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("the password cannot be read")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.chars().count() < SHORTEST_PASSWORD {
        return Err(CliError::Usage(format!("a password must have at least {SHORTEST_PASSWORD} characters")));
    }
    Ok(password)
}
