//! `<list>.codes.toml` → [`CodeTable`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Check, class::titled};
use crate::{
    at,
    document::{Document, Problems, Step},
    domain::ClassName,
    profile::{
        Class, CodeTable, code_names,
        codes::{Code, CodeFile, CodesFile},
    },
    text,
};

/// The list of codes that `document` describes, or `None` and what is wrong with it in `problems`.
pub fn compile_codes(
    document: &Document,
    classes: &BTreeMap<ClassName, Option<Arc<Class>>>,
    problems: &mut Problems,
) -> Option<CodeTable> {
    let mut found = Problems::default();
    let table = document.read::<CodesFile>(&mut found).and_then(|file| {
        let mut check = Check { document, problems: &mut found };
        let class = check.class_of(at!["codes"], &file.codes, classes)?;
        Some(check.codes(file, &class))
    });
    let sound = !found.has_errors();
    problems.extend(found);
    table.filter(|_| sound)
}

impl Check<'_> {
    fn codes(&mut self, file: CodesFile, class: &Class) -> CodeTable {
        let known = code_names(class);
        let mut said: BTreeSet<String> = BTreeSet::new();
        for (i, name) in file.without.iter().enumerate() {
            let path = at!["without", i];
            if class.alarm(name).is_none() {
                let told = text!("类别没有报警 \"{name}\"", "the class has no alarm \"{name}\"");
                self.unknown(path, told, name, class.alarms.iter().map(|alarm| alarm.name.as_str()));
            }
            self.once(path, name, &mut said);
        }
        let mut codes: Vec<Code> = Vec::new();
        for (i, one) in file.code.into_iter().enumerate() {
            if codes.iter().any(|before| before.code == one.code) {
                let code = &one.code;
                self.error(
                    at!["code", i, "code"],
                    text!("代码 \"{code}\" 重复", "code \"{code}\" is there twice"),
                );
            }
            for (n, name) in one.stands_for.iter().enumerate() {
                let path = at!["code", i, "for", n];
                if !known.contains(name) {
                    let told = text!(
                        "\"{name}\" 不是这个类别的报警，也不是\"测点.取值\"",
                        "\"{name}\" is no alarm of the class, nor a `point.word` of it"
                    );
                    self.unknown(path, told, name, known.iter().map(String::as_str));
                }
                self.once(path, name, &mut said);
            }
            let CodeFile { code, kind, title, verified, stands_for } = one;
            codes.push(Code { code, kind, title, verified, stands_for });
        }
        let title = titled(file.title, &file.codes);
        let without = file.without.into_iter().collect();
        let table = CodeTable { id: file.codes, title, source: file.source, codes, without };
        let silent = table.silent_on(class).join(", ");
        if !silent.is_empty() {
            let told = text!(
                "没有说这些报警是什么代码，也没有列入 without：{silent}",
                "it has no code for these alarms, nor are they in `without`: {silent}"
            );
            self.warning(at!["codes"], told);
        }
        table
    }

    /// One alarm has one code, or none.
    fn once(&mut self, path: &[Step<'_>], name: &str, said: &mut BTreeSet<String>) {
        if !said.insert(name.to_owned()) {
            let told = text!("\"{name}\" 前面已经说过", "\"{name}\" was spoken of before");
            self.error(path, told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Lang,
        profile::{Library, Verified},
    };

    const CLASS: &str = r#"class = "lift"
[[point]]
name = "mode"
kind = "choice"
values = ["normal", "fire"]
[[alarm]]
name = "fire"
priority = "high"
when = 'mode == "fire"'
"#;
    const SOUND: &str = r#"codes = "lift/city"
source = "made up"
without = ["comm_loss"]
[[code]]
code = "44"
kind = "event"
title = { zh = "消防返回", en = "fire return" }
verified = "one_source"
for = ["fire", "mode.fire"]
"#;

    fn said(codes: &str) -> String {
        let mut problems = Problems::default();
        let files = [("lift/class.toml", CLASS), ("lift/city.codes.toml", codes)];
        let library = Library::of(&files, &mut problems);
        let lines = problems.lines(Lang::En);
        assert_eq!(library.code_table("lift/city").is_some(), !problems.has_errors(), "{lines}");
        lines
    }

    #[test]
    fn a_list_speaks_of_each_alarm_of_its_class_once() {
        assert_eq!(said(SOUND), "");
        let facts = [
            (
                r#"without = ["comm_loss"]"#,
                "",
                "warning: it has no code for these alarms, nor are they in `without`: comm_loss",
            ),
            (r#""comm_loss""#, r#""com_loss""#, "the class has no alarm \"com_loss\""),
            (r#""comm_loss""#, r#""comm_loss", "fire""#, "\"fire\" was spoken of before"),
            (
                r#""mode.fire""#,
                r#""mode.fir""#,
                "\"mode.fir\" is no alarm of the class, nor a `point.word` of it",
            ),
            (r#""mode.fire""#, r#""mode""#, "\"mode\" is no alarm of the class"),
            (r#""mode.fire""#, r#""fire""#, "\"fire\" was spoken of before"),
            ("lift/city", "lift/town", "by its place it is lift/city, the file says lift/town"),
            ("lift/city", "lyft/city", "there is no class \"lyft\""),
            (r#"kind = "event""#, r#"kind = "events""#, "events"),
            (r#""44""#, r#""4 4""#, "4 4"),
        ];
        for (from, to, expected) in facts {
            let lines = said(&SOUND.replace(from, to));
            assert!(lines.contains(expected), "{to}: {lines}");
        }
        let twice = format!(
            "{SOUND}{}",
            &SOUND[SOUND.find("[[code]]").unwrap()..].replace("for = [\"fire\", \"mode.fire\"]", "")
        );
        assert!(said(&twice).contains("code \"44\" is there twice"));
    }

    /// Every alarm of our elevators has a code of GB/T 24476 or is said to have none; what the codes are is what two independent sources say.
    #[test]
    fn the_codes_of_gb_t_24476() {
        let mut problems = Problems::default();
        let library = Library::shipped(&mut problems);
        assert_eq!(problems.lines(Lang::En), "");
        let class = library.class("elevator").unwrap();
        for table in library.code_tables() {
            assert_eq!(table.silent_on(&class), Vec::<String>::new(), "{}", table.id);
        }
        let table = library.code_table("elevator/gbt24476-2017").unwrap();
        let agreed = table.codes.iter().filter(|code| code.verified == Verified::TwoSources);
        let agreed: Vec<&str> = agreed.map(|code| code.code.as_str()).collect();
        let standard = [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "40", "41", "42", "43", "44", "45", "46", "47", "90",
        ];
        assert_eq!(agreed, standard);
        let codes = table.by_name();
        let facts = [
            ("safety_circuit_open", Some("1")),
            ("door_closing_fault", Some("2")),
            ("door_opening_fault", Some("3")),
            ("stuck_between_floors", Some("4")),
            ("unintended_movement", Some("5")),
            ("power_lost", Some("41")),
            ("out_of_service", Some("42")),
            ("inspection_mode", Some("43")),
            ("fire_return", Some("44")),
            ("fireman_service", Some("45")),
            ("mode.earthquake", Some("47")),
            ("alarm_button", Some("90")),
            ("passenger_trapped", None),
            ("e_bike", None),
        ];
        for (name, code) in facts {
            assert_eq!(codes.get(name).map(String::as_str), code, "{name}");
        }
    }

    #[test]
    fn the_same_fault_has_another_code_in_each_list() {
        let library = Library::shipped(&mut Problems::default());
        let facts = [
            ("overtravel_top", "chongqing", Some("92")),
            ("overtravel_top", "province", Some("09")),
            ("overtravel_top", "maixin", Some("1")),
            ("overtravel_top", "four-digits", Some("0205")),
            ("overtravel_bottom", "chongqing", Some("91")),
            ("overtravel_bottom", "yun-anda", Some("10")),
            ("passenger_trapped", "chongqing", Some("93")),
            ("passenger_trapped", "province", Some("11")),
            ("passenger_trapped", "yun-anda", None),
            ("passenger_trapped_at_landing_suspected", "maixin", Some("7")),
            ("passenger_trapped_suspected", "maixin", Some("8")),
            ("overspeed", "yun-anda", Some("11")),
            ("moving_door_open", "yun-anda", Some("12")),
            ("moving_door_open", "maixin", Some("5")),
            ("door_open_running_suspected", "yun-anda", Some("08")),
            ("e_bike", "four-digits", Some("0317")),
            ("alarm_button", "maixin", Some("21")),
        ];
        for (name, list, code) in facts {
            let table = library.code_table(&format!("elevator/{list}")).unwrap();
            assert_eq!(table.by_name().get(name).map(String::as_str), code, "{name} {list}");
        }
    }
}
