//! The names of tools. They come from `operationId`, or from method and path where there is none. No name depends on the order
//! of the operations, and none on which of them are selected.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The longest name that models' servers take.
const LONGEST_NAME: usize = 64;
/// How many digits of a hash are added to a name that is cut, or that several operations would have.
const HASH_DIGITS: usize = 8;

/// What a name is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameParts<'o> {
    pub(super) operation_id: Option<&'o str>,
    pub(super) method: &'o str,
    pub(super) path: &'o str,
}

impl NameParts<'_> {
    /// The name, if no other operation has it, and whether it is the `operationId` as it is written.
    fn natural(&self) -> (String, bool) {
        let id = self.operation_id.map(str::trim).unwrap_or_default();
        let mut name = plain(id);
        if name.is_empty() {
            name = plain(&format!("{} {}", self.method.to_lowercase(), self.path.replace('{', "by_")));
        }
        // The servers of some models want a letter first.
        if !name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_') {
            name.insert(0, '_');
        }
        let is_whole = name == id;
        if name.len() > LONGEST_NAME {
            return (self.with_hash(&name), false);
        }
        (name, is_whole)
    }

    /// A name with a hash of what no two operations share: the method and the path.
    fn with_hash(&self, name: &str) -> String {
        let digest = Sha256::digest(format!("{} {}", self.method, self.path));
        let mut hash = String::new();
        for byte in digest.iter().take(HASH_DIGITS / 2) {
            write!(hash, "{byte:02x}").expect("a text takes everything");
        }
        let kept = &name[..name.len().min(LONGEST_NAME - HASH_DIGITS - 1)];
        format!("{}_{hash}", kept.trim_end_matches(['_', '-']))
    }
}

/// The text with `_` for every run of other characters than letters, digits, `_` and `-`; none at its ends.
fn plain(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut gap = false;
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || letter == '_' || letter == '-' {
            if gap && !name.is_empty() {
                name.push('_');
            }
            name.push(letter);
            gap = false;
        } else {
            gap = true;
        }
    }
    name
}

/// A name for each operation. Where several would have one, the one whose `operationId` it is keeps it, and the others get a hash.
pub(super) fn tool_names(operations: &[NameParts<'_>]) -> Vec<String> {
    let natural: Vec<(String, bool)> = operations.iter().map(NameParts::natural).collect();
    let mut counts: HashMap<&str, (usize, usize)> = HashMap::with_capacity(natural.len());
    for (name, is_whole) in &natural {
        let (all, whole) = counts.entry(name).or_default();
        *all += 1;
        *whole += usize::from(*is_whole);
    }
    let mut taken = HashSet::with_capacity(natural.len());
    let mut names = Vec::with_capacity(natural.len());
    for (parts, (name, is_whole)) in operations.iter().zip(&natural) {
        let (all, whole) = counts[name.as_str()];
        let keeps = all == 1 || (*is_whole && whole == 1);
        let mut chosen = if keeps { name.clone() } else { parts.with_hash(name) };
        // A name in a document may look like one with a hash.
        while !taken.insert(chosen.clone()) {
            chosen = parts.with_hash(&format!("_{chosen}"));
        }
        names.push(chosen);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(operations: &[(&str, &str, &str)]) -> Vec<String> {
        let parts = operations.iter().map(|(id, method, path)| NameParts {
            operation_id: (!id.is_empty()).then_some(*id),
            method,
            path,
        });
        tool_names(&parts.collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_the_operation_id_or_method_and_path() {
        let long = "orgs/custom-properties-for-repos-create-or-update-organization-definition";
        let longer = format!("{long}s");
        let found = names(&[
            ("listPets", "GET", "/pets"),
            ("pets/list-all", "GET", "/pets/all"),
            ("", "GET", "/v2/items/{itemId}"),
            ("", "GET", "/v2/items/itemId"),
            ("", "GET", "/"),
            ("Größe ändern", "PUT", "/size"),
            ("2fa", "POST", "/2fa"),
            ("---", "POST", "/a"),
            (long, "PATCH", "/orgs/{org}/properties/schema/{name}"),
            (&longer, "PATCH", "/orgs/{org}/properties/schema"),
        ]);
        assert_eq!(
            found[..8],
            [
                "listPets",
                "pets_list-all",
                "get_v2_items_by_itemId",
                "get_v2_items_itemId",
                "get",
                "Gr_e_ndern",
                "_2fa",
                "_---"
            ]
        );
        assert!(found[8].starts_with("orgs_custom-properties-for-repos-create-or-update-organ"), "{}", found[8]);
        assert!(found.iter().all(|name| name.len() <= 64), "{found:?}");
        assert_ne!(found[8], found[9]);
    }

    #[test]
    fn names_clash_never_and_do_not_depend_on_the_order() {
        let operations = [
            ("get_pets", "GET", "/pets"),
            ("get/pets", "GET", "/v2/pets"),
            ("get pets", "GET", "/v3/pets"),
            ("same", "GET", "/same"),
            ("same", "PUT", "/same"),
            ("", "GET", "/a/b"),
            ("", "GET", "/a_b"),
            ("", "GET", "/a-b"),
        ];
        let found = names(&operations);
        assert_eq!(found[0], "get_pets");
        assert!(found[1].starts_with("get_pets_") && found[3].starts_with("same_") && found[4].starts_with("same_"));
        assert_eq!(found[7], "get_a-b");
        let distinct: HashSet<&String> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "{found:?}");
        let mut reversed: Vec<_> = operations.into_iter().rev().collect();
        let mut again = names(&reversed);
        again.reverse();
        assert_eq!(again, found);
        // One more operation changes no other name.
        reversed.insert(3, ("listPets", "GET", "/pets/list"));
        assert!(found.iter().all(|name| names(&reversed).contains(name)));
    }

    #[test]
    fn a_name_that_looks_like_one_with_a_hash_is_no_clash() {
        let hashed = names(&[("a", "GET", "/1"), ("a", "GET", "/2")]);
        let found = names(&[(hashed[0].as_str(), "GET", "/3"), ("a", "GET", "/1"), ("a", "GET", "/2")]);
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), 3, "{found:?}");
    }
}
