//! What somebody may have meant.

/// The candidate most like `word`, if one is alike enough to be worth naming.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        // of equals the first: lists begin with what is usual
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_word_is_named_only_when_it_is_near() {
        let keys = ["host", "port", "baud", "framing", "timeout", "on_delay", "off_delay"];
        for (fact, word, found) in [
            ("a letter left out", "prt", Some("port")),
            ("letters swapped", "haots", Some("host")),
            ("kebab for snake", "on-delay", Some("on_delay")),
            ("another case", "Framing", Some("framing")),
            ("a word too long", "timeouts", Some("timeout")),
            ("the first of equals", "off_dela", Some("off_delay")),
            ("nothing alike", "zzz", None),
            ("nothing at all", "", None),
            ("Chinese", "端口", None),
        ] {
            assert_eq!(nearest(word, keys), found, "{fact}");
        }
    }
}
