//! The key of a block depends on everything that the numbers of the block depend on.

use std::collections::HashSet;

use super::*;

const TOKENS: [TokenId; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

#[test]
fn a_key_depends_on_all_tokens_before_it() {
    let (scope, first) = (salted(None), keys(1, 3));
    let mut other = TOKENS;
    other[0] = 99;
    let changed = origin().keys(&scope, &other, BLOCK);
    assert!(first.iter().zip(&changed).all(|(one, other)| one != other), "the first token is before all");
    other = TOKENS;
    other[11] = 99;
    let changed = origin().keys(&scope, &other, BLOCK);
    assert_eq!((&first[..2], first[2] == changed[2]), (&changed[..2], false));
    assert_eq!(origin().keys(&scope, &TOKENS[..11], BLOCK), first[..2], "only whole blocks have keys");
}

#[test]
fn models_devices_layouts_and_salts_have_keys_of_their_own() {
    let wide = KvLayout { element: KvElement::F32, ..(*layout()).clone() };
    let arranged = KvLayout { arrangement: "otherwise", ..(*layout()).clone() };
    let origins = [
        origin(),
        Origin::new(&[8; 32], "a device", &layout()),
        Origin::new(&[7; 32], "another device", &layout()),
        Origin::new(&[7; 32], "a device", &wide),
        Origin::new(&[7; 32], "a device", &arranged),
    ];
    let salts = [None, Some(""), Some("a"), Some("b"), Some("no salt")];
    let key = |origin: &Origin, salt| origin.keys(&salted(salt), &TOKENS, BLOCK)[0];
    let all: HashSet<_> = origins.iter().flat_map(|origin| salts.map(|salt| key(origin, salt))).collect();
    assert_eq!(all.len(), origins.len() * salts.len());
}

#[test]
fn a_key_is_read_as_it_is_shown() {
    let key = keys(1, 1)[0];
    assert_eq!(BlockKey::parse(&key.to_string()), Some(key));
    for wrong in ["", "ab", &key.to_string().to_uppercase(), &format!("{key}00"), &"g".repeat(64), &"é".repeat(32)] {
        assert_eq!(BlockKey::parse(wrong), None, "{wrong}");
    }
}
