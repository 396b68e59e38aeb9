//! The 64 pictures of a comparison: each stands for six bits, and none looks or reads like another.
//!
//! The order is part of the protocol: it never changes.

/// Picture and English name, by value.
pub(super) const EMOJI: [(&str, &str); 64] = [
    ("⚓", "anchor"),
    ("🐜", "ant"),
    ("🍎", "apple"),
    ("🎈", "balloon"),
    ("🍌", "banana"),
    ("🧺", "basket"),
    ("🐻", "bear"),
    ("🔔", "bell"),
    ("🚲", "bicycle"),
    ("📘", "book"),
    ("👢", "boot"),
    ("🍞", "bread"),
    ("🌉", "bridge"),
    ("🧹", "broom"),
    ("🌵", "cactus"),
    ("🐪", "camel"),
    ("🕯️", "candle"),
    ("🥕", "carrot"),
    ("🏰", "castle"),
    ("🐈", "cat"),
    ("🧀", "cheese"),
    ("🍒", "cherries"),
    ("☁️", "cloud"),
    ("🧭", "compass"),
    ("🦀", "crab"),
    ("👑", "crown"),
    ("💎", "diamond"),
    ("🐬", "dolphin"),
    ("🚪", "door"),
    ("🥁", "drum"),
    ("🦆", "duck"),
    ("🥚", "egg"),
    ("🐘", "elephant"),
    ("🪶", "feather"),
    ("🔥", "fire"),
    ("🐟", "fish"),
    ("🚩", "flag"),
    ("🌸", "flower"),
    ("🍴", "fork"),
    ("🐸", "frog"),
    ("🍇", "grapes"),
    ("🎸", "guitar"),
    ("🔨", "hammer"),
    ("🎩", "hat"),
    ("🏠", "house"),
    ("🔑", "key"),
    ("🪜", "ladder"),
    ("🍋", "lemon"),
    ("🌙", "moon"),
    ("🍄", "mushroom"),
    ("🐙", "octopus"),
    ("✏️", "pencil"),
    ("🎹", "piano"),
    ("🌈", "rainbow"),
    ("🚀", "rocket"),
    ("✂️", "scissors"),
    ("🐌", "snail"),
    ("⭐", "star"),
    ("☀️", "sun"),
    ("🚂", "train"),
    ("🌳", "tree"),
    ("☂️", "umbrella"),
    ("🎻", "violin"),
    ("🐋", "whale"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_picture_and_no_name_comes_twice() {
        let pictures: BTreeSet<&str> = EMOJI.iter().map(|(picture, _)| *picture).collect();
        let names: BTreeSet<&str> = EMOJI.iter().map(|(_, name)| *name).collect();
        assert_eq!((pictures.len(), names.len()), (64, 64));
    }
}
