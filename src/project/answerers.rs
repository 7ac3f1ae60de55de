//! Whether the people whom workflows name can answer, and whether anybody is named where it matters: what only the workflows and
//! `auth:` together can tell.

use std::collections::{BTreeMap, BTreeSet};

use crate::auth::UserDirectory;
use crate::config::{AccessRight, AuthConfig, AuthMode, UsersAndGroups};
use crate::problem::{Problem, Problems, did_you_mean};
use crate::protocol::answerers::Answerers;
use crate::workflow::{AnswererTerms, ApprovalRule, Workflow, answerer_terms};

/// Refuses a workflow whose questions are for certain people where nobody is asked who calls: nobody could answer.
pub fn check_answerers(workflow: &Workflow, auth: &AuthConfig) -> Result<(), Problems> {
    if !matches!(auth.mode, AuthMode::None) {
        return Ok(());
    }
    let restricted = answerer_terms(workflow).into_iter().filter(|terms| terms.by.is_some() || terms.not_by_starter);
    let hint = "set auth.mode in fastagency.yaml, so that people say who they are; or take the key out";
    let message = "nobody could answer this: auth.mode is none, and all callers are the same anonymous user";
    Problems::refuse(
        restricted
            .map(|terms| Problem { message: message.to_owned(), ..terms.problem.clone() }.with_hint(hint))
            .collect(),
    )
}

/// What an operator should know of who may answer in these workflows.
pub fn answerer_warnings(workflows: &[Workflow], auth: &AuthConfig) -> Vec<Problem> {
    if matches!(auth.mode, AuthMode::None) {
        return Vec::new();
    }
    let people = KnownPeople::new(auth);
    let mut warnings = Vec::new();
    for workflow in workflows {
        warnings.extend(own_approvals(workflow));
        for terms in answerer_terms(workflow) {
            let named = terms.by.iter().chain(terms.escalate.iter().map(|(_, to)| to));
            for members in named {
                warnings.extend(people.unknown(members, terms));
                warnings.extend(people.without_rights(members, terms, workflow, workflows));
            }
        }
    }
    warnings
}

/// The tools that the user who starts a run can approve, although people are asked about them.
fn own_approvals(workflow: &Workflow) -> impl Iterator<Item = Problem> + '_ {
    let asks = workflow.tools.approvals().filter(|(_, approval)| approval.rule != ApprovalRule::Never);
    asks.filter(|(_, approval)| approval.answerers.is_none()).filter_map(|(name, approval)| {
        let problem = approval.problem.clone()?;
        let ask = if approval.rule == ApprovalRule::First { "first" } else { "always" };
        let what = match workflow.tools.sets().get(name) {
            Some(set) if !set.is_single() => "the tools of",
            _ => "the tool",
        };
        let message = format!("the user who starts a run can approve {what} {:?}", name.as_str());
        let hint = format!(
            "if others shall decide, write: approve: {{ ask: {ask}, by: {{ groups: [support] }}, not_by_starter: true }}; \
             if it is meant so: approve: {{ ask: {ask}, not_by_starter: false }}"
        );
        Some(Problem { message, ..problem }.with_hint(hint))
    })
}

/// Who is known, and what the configuration lets them do.
struct KnownPeople<'a> {
    auth: &'a AuthConfig,
    /// Users with the groups that they and their keys belong to; none: they are known elsewhere.
    users: Option<BTreeMap<String, BTreeSet<String>>>,
}

impl<'a> KnownPeople<'a> {
    fn new(auth: &'a AuthConfig) -> Self {
        let is_in_file = matches!(auth.mode, AuthMode::Basic { .. } | AuthMode::ApiKey);
        let file = auth.file.as_deref().filter(|_| is_in_file);
        let users = file.and_then(|file| UserDirectory::read(file).ok()).map(|known| {
            let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            let people = known.users.into_iter().map(|(name, user)| (name, user.groups));
            for (name, groups) in people.chain(known.keys.into_values().map(|key| (key.user, key.groups))) {
                users.entry(name).or_default().extend(groups);
            }
            users
        });
        Self { auth, users }
    }

    /// Names that nobody has.
    fn unknown(&self, members: &Answerers, terms: &AnswererTerms) -> Vec<Problem> {
        let Some(users) = &self.users else { return Vec::new() };
        let groups: BTreeSet<&str> = users.values().flatten().map(String::as_str).collect();
        let warning = |what: &str, name: &str, near: Option<String>, add: &str| {
            let message = format!("there is no {what} {name:?} in auth.file");
            let hint = near.unwrap_or_else(|| format!("add one: {add}"));
            Problem { message, ..terms.problem.clone() }.with_hint(hint)
        };
        let unknown_users = members.users.iter().filter(|name| !users.contains_key(*name)).map(|name| {
            let near = did_you_mean(name, users.keys().map(String::as_str));
            warning("user", name, near, &format!("fastagency user add {name}"))
        });
        let unknown_groups = members.groups.iter().filter(|name| !groups.contains(name.as_str())).map(|name| {
            let near = did_you_mean(name, groups.iter().copied());
            warning("member of the group", name, near, &format!("fastagency user add NAME --group {name}"))
        });
        unknown_users.chain(unknown_groups).collect()
    }

    /// Users and groups who may answer the question, and not in the runs that ask it.
    fn without_rights(
        &self,
        members: &Answerers,
        terms: &AnswererTerms,
        workflow: &Workflow,
        all: &[Workflow],
    ) -> Vec<Problem> {
        // What a workflow asks that another one calls is asked in the run of that other one.
        let asking = all.iter().filter(|other| other.definition.sources.contains_key(&workflow.name));
        let mut warnings = Vec::new();
        for run_of in asking.map(|other| other.name.as_str()) {
            let users = members.users.iter().filter(|user| !self.user_may(user, run_of));
            let groups = members.groups.iter().filter(|group| !self.group_may(group, run_of));
            let mut warn = |what: &str, key: &str, name: &str| {
                let message = format!("the {what} {name:?} may not see and answer the runs of {run_of:?}");
                let hint = format!(
                    "add to auth.access in fastagency.yaml: {{ workflows: [{run_of}], {key}: [{name}], may: [see, answer] }}"
                );
                warnings.push(Problem { message, ..terms.problem.clone() }.with_hint(hint));
            };
            users.for_each(|user| warn("user", "users", user));
            groups.for_each(|group| warn("group", "groups", group));
        }
        warnings
    }

    fn user_may(&self, user: &str, workflow: &str) -> bool {
        let groups = self.users.as_ref().and_then(|users| users.get(user));
        let is_one = |members: &UsersAndGroups| {
            members.users.iter().any(|name| name == user)
                || groups.is_some_and(|groups| members.groups.iter().any(|group| groups.contains(group)))
        };
        is_one(&self.auth.admins) || self.has_rules(workflow, &is_one)
    }

    fn group_may(&self, group: &str, workflow: &str) -> bool {
        let is_one = |members: &UsersAndGroups| members.groups.iter().any(|name| name == group);
        is_one(&self.auth.admins) || self.has_rules(workflow, &is_one)
    }

    fn has_rules(&self, workflow: &str, is_one: &dyn Fn(&UsersAndGroups) -> bool) -> bool {
        [AccessRight::See, AccessRight::Answer].iter().all(|right| {
            self.auth.access.iter().any(|rule| {
                rule.may.contains(right)
                    && rule.covers(workflow)
                    && (rule.members.is_everybody() || is_one(&rule.members))
            })
        })
    }
}
