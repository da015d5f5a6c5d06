//! Text as it is compared: without what carries no meaning.
//!
//! Invariant: two texts that look the same to a reader are the same here, whichever code points
//! they are written with (Unicode NFKC), and however their spaces are set.

use unicode_normalization::UnicodeNormalization as _;

use super::Rules;

pub(super) fn same(rules: &Rules, one: &str, other: &str) -> bool {
    one == other || normal(rules, one) == normal(rules, other)
}

/// The characters of a text that count, one space between words.
fn normal(rules: &Rules, text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut space = false;
    for character in text.nfkc() {
        if character.is_whitespace() {
            space = true;
            continue;
        }
        if rules.ignore_punctuation && !character.is_alphanumeric() {
            continue;
        }
        if space && !normal.is_empty() {
            normal.push(' ');
        }
        space = false;
        if rules.ignore_case {
            normal.extend(character.to_lowercase());
        } else {
            normal.push(character);
        }
    }
    normal
}
