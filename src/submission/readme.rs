//! `readme.txt`: four labelled lines about the entry.
//!
//! The template is in `submission/templates/`. Reading goes by label, because the labels carry the meaning: other challenges print
//! `CPU[0] / GPU[1]`, and participants type the spaces differently.

use super::findings::Problem;

/// The template that [`Readme::render`] fills in.
const TEMPLATE: &str = include_str!("../../submission/templates/readme.txt");
/// The runtime in the template that participants copy around; it says nothing about an entry.
const COPIED_RUNTIME: &str = "10.43";
/// Seconds per image beyond which a runtime is hardly meant: an hour, and less than a microsecond.
const PLAUSIBLE_RUNTIME_S: std::ops::RangeInclusive<f64> = 1e-6..=3600.0;

/// What `readme.txt` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Readme {
    /// Mean runtime for one image, in seconds.
    pub runtime_per_image_s: f64,
    /// Whether the runtime was measured on a CPU (otherwise a GPU).
    pub cpu: bool,
    /// Whether data beyond that of the challenge was used for training.
    pub extra_data: bool,
    /// Method, language, hardware, training data: one paragraph of free text.
    pub description: String,
}

impl Readme {
    /// The text of the file, ending with a newline. The runtime has six significant digits; white space in the description is
    /// collapsed, so that it cannot be taken for another field.
    pub fn render(&self) -> String {
        let description = self.description.split_whitespace().collect::<Vec<_>>().join(" ");
        let flag = |value| if value { "1" } else { "0" };
        TEMPLATE
            .replace("{runtime}", &significant(self.runtime_per_image_s))
            .replace("{cpu}", flag(self.cpu))
            .replace("{extra_data}", flag(self.extra_data))
            .replace("{description}", &description)
    }
}

/// Six significant digits without an exponent or trailing zeros.
fn significant(value: f64) -> String {
    // Rounding through the scientific form keeps six digits at any magnitude; `Display` of f64 never uses an exponent.
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    format!("{rounded}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Runtime,
    Device,
    ExtraData,
    Description,
}

/// The fields in the order of the template, with their labels.
const FIELDS: [(Field, &str); 4] = [
    (Field::Runtime, "runtime per image [s]"),
    (Field::Device, "CPU[1] / GPU[0]"),
    (Field::ExtraData, "Extra Data [1] / No Extra Data [0]"),
    (Field::Description, "Other description"),
];

/// Reads the text by its labels, and tells what is wrong with it.
///
/// The first part is `None` exactly when a problem is an error.
pub(super) fn parse(text: &str) -> (Option<Readme>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut found: Vec<(Field, String, String)> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let field = line.split_once(':').and_then(|(label, value)| Some((field_of(label)?, label, value)));
        // After the description everything is free text, except a field that has not come yet.
        let in_description = found.iter().any(|(field, ..)| *field == Field::Description);
        match field {
            Some((field, ..)) if found.iter().any(|(known, ..)| *known == field) => {
                if let Some((_, _, text)) = found.last_mut().filter(|_| in_description) {
                    text.push(' ');
                    text.push_str(line.trim());
                } else {
                    let what = format!("the line `{}` is there twice", label_of(field));
                    problems.push(Problem::error(what, "keep one of them"));
                }
            }
            Some((field, label, value)) => {
                found.push((field, label.trim().to_string(), value.trim().to_string()))
            }
            None => {
                if let Some((Field::Description, _, value)) = found.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                } else if !line.trim().is_empty() {
                    let shown: String = line.chars().take(60).collect();
                    problems.push(Problem::warning(
                        format!("the line `{}` is none of the four fields", shown.escape_debug()),
                        "keep free text in `Other description`",
                    ));
                }
            }
        }
    }
    let order: Vec<Field> = found.iter().map(|(field, ..)| *field).collect();
    let expected: Vec<Field> =
        FIELDS.iter().map(|(field, _)| *field).filter(|field| order.contains(field)).collect();
    if order != expected {
        problems
            .push(Problem::warning("the fields are not in the usual order", "use the order of the template"));
    }
    let mut value = |field: Field| {
        let hit = found
            .iter()
            .find(|(known, ..)| *known == field)
            .map(|(_, label, value)| (label.clone(), value.clone()));
        if hit.is_none() {
            let label = label_of(field);
            problems.push(Problem::error(
                format!("the line `{label} : …` is missing"),
                "add it as in the template",
            ));
        }
        hit
    };
    let (runtime, device) = (value(Field::Runtime), value(Field::Device));
    let (extra, description) = (value(Field::ExtraData), value(Field::Description));
    let runtime = runtime.and_then(|(_, value)| parse_runtime(&value, &mut problems));
    let cpu = device.and_then(|(label, value)| parse_flag(&label, &value, ["cpu", "gpu"], &mut problems));
    let extra = extra.and_then(|(label, value)| {
        parse_flag(&label, &value, ["extra data", "no extra data"], &mut problems)
    });
    let description = description.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "));
    if description.as_deref() == Some("") {
        problems.push(Problem::warning(
            "the description is empty",
            "say method, language, hardware and training data",
        ));
    }
    let readme = (|| {
        Some(Readme {
            runtime_per_image_s: runtime?,
            cpu: cpu?,
            extra_data: extra?,
            description: description?,
        })
    })();
    (readme.filter(|_| !problems.iter().any(Problem::is_error)), problems)
}

fn label_of(field: Field) -> &'static str {
    FIELDS.iter().find(|(known, _)| *known == field).map_or("", |(_, label)| label)
}

/// The field a label means. Words decide, not spaces, case or the numbers in brackets.
fn field_of(label: &str) -> Option<Field> {
    let words: String =
        label.to_lowercase().chars().map(|c| if c.is_alphabetic() { c } else { ' ' }).collect();
    let words: Vec<&str> = words.split_whitespace().collect();
    match words.as_slice() {
        ["runtime", "per", "image"] | ["runtime", "per", "image", "s" | "sec" | "seconds"] => {
            Some(Field::Runtime)
        }
        ["cpu", "gpu"] | ["gpu", "cpu"] => Some(Field::Device),
        ["extra", "data", "no", "extra", "data"] | ["no", "extra", "data", "extra", "data"] => {
            Some(Field::ExtraData)
        }
        ["other", "description"] => Some(Field::Description),
        _ => None,
    }
}

fn parse_runtime(value: &str, problems: &mut Vec<Problem>) -> Option<f64> {
    let label = label_of(Field::Runtime);
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let Some(number) = number else {
        let shown: String = value.chars().take(40).collect();
        problems.push(Problem::error(
            format!("`{label}` is `{}`, not one positive number", shown.escape_debug()),
            "write seconds as a plain number without a unit, such as 0.0482",
        ));
        return None;
    };
    if !PLAUSIBLE_RUNTIME_S.contains(&number) {
        problems.push(Problem::warning(
            format!("a runtime of {number} s per image is not plausible"),
            "write the measured mean in seconds, not in milliseconds",
        ));
    }
    if value == COPIED_RUNTIME {
        problems.push(Problem::note(
            format!("the runtime {COPIED_RUNTIME} s is the one of the template"),
            "write the measured mean",
        ));
    }
    Some(number)
}

/// Whether the value chooses the first of two named options. The numbers in brackets of the label say which is which; without
/// them the first is 1, as in the template.
fn parse_flag(label: &str, value: &str, names: [&str; 2], problems: &mut Vec<Problem>) -> Option<bool> {
    let (first, second) = match bracketed(label, names) {
        Some(meaning) => meaning,
        None => {
            problems.push(Problem::warning(
                format!("the label `{}` does not say which number means what", label.escape_debug()),
                "copy the label from the template",
            ));
            ('1', '0')
        }
    };
    if (first, second) == ('0', '1') {
        problems.push(Problem::note(
            format!(
                "the label `{}` has the flags the other way round; it was read as it says",
                label.escape_debug()
            ),
            "ESR templates have 1 first",
        ));
    }
    match value.parse::<char>() {
        Ok(flag) if flag == first => Some(true),
        Ok(flag) if flag == second => Some(false),
        _ => {
            let shown: String = value.chars().take(40).collect();
            problems.push(Problem::error(
                format!("`{}` is `{}`, neither 0 nor 1", label.escape_debug(), shown.escape_debug()),
                "write 0 or 1",
            ));
            None
        }
    }
}

/// The numbers of the two options in a label such as `CPU[1] / GPU[0]`, in the order of `names`; they are 0 and 1 in some order.
fn bracketed(label: &str, names: [&str; 2]) -> Option<(char, char)> {
    let mut numbers = [None; 2];
    for option in label.split('/') {
        let (name, number) = option.split_once('[')?;
        let name = name.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let number = number.trim().strip_suffix(']')?.trim().parse::<char>().ok()?;
        let slot = names.iter().position(|known| *known == name)?;
        *numbers.get_mut(slot)? = Some(number);
    }
    match numbers {
        [Some('1'), Some('0')] => Some(('1', '0')),
        [Some('0'), Some('1')] => Some(('0', '1')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings::Severity;
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Readme {
        let description = "IMDN,\n CPU[1] / GPU[0] : 0\tin Rust".to_string();
        Readme { runtime_per_image_s: 0.04823456789, cpu: false, extra_data: true, description }
    }

    fn what(text: &str) -> String {
        parse(text).1.iter().map(|p| format!("{:?}: {}", p.severity, p.what)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_template_is_filled_in_order() {
        assert_eq!(
            sample().render(),
            "runtime per image [s] : 0.0482346\nCPU[1] / GPU[0] : 0\nExtra Data [1] / No Extra Data [0] : 1\n\
             Other description : IMDN, CPU[1] / GPU[0] : 0 in Rust\n"
        );
    }

    #[test]
    fn numbers_are_short_and_without_exponent() {
        for (value, text) in
            [(10.43, "10.43"), (1e-7, "0.0000001"), (123_456_789.0, "123457000"), (0.05, "0.05")]
        {
            assert_eq!(significant(value), text);
        }
    }

    #[test]
    fn variants_of_spaces_and_flags_are_understood() {
        let text = "Runtime per image [s]: 0.5\r\nCPU [0]/ GPU [1]:0\r\nNo Extra Data[0] / Extra Data[1]  :  0\r\nOther description: a: b\r\nand more";
        let (readme, problems) = parse(text);
        let readme = readme.unwrap();
        assert_eq!((readme.runtime_per_image_s, readme.cpu, readme.extra_data), (0.5, true, false));
        assert_eq!(readme.description, "a: b and more");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].severity == Severity::Note && problems[0].what.contains("other way round"));
    }

    #[test]
    fn faults_are_named() {
        let with = |from: &str, to: &str| what(&sample().render().replace(from, to));
        assert!(with("0.0482346", "0.05 s").contains("Error: `runtime per image [s]` is `0.05 s`"));
        assert!(with("0.0482346", "-1").contains("not one positive number"));
        assert!(with("0.0482346", "nan").contains("not one positive number"));
        assert!(with("0.0482346", "10.43").contains("Note: the runtime 10.43 s"));
        assert!(with("0.0482346", "48234").contains("Warning: a runtime of 48234 s"));
        assert!(with("GPU[0] : 0\n", "GPU[0] : 2\n").contains("neither 0 nor 1"));
        assert!(with("CPU[1] / GPU[0] : 0\n", "CPU / GPU : 0\n").contains("which number means what"));
        assert!(with("Extra Data [1] / No Extra Data [0] : 1\n", "").contains("Error: the line `Extra Data"));
        assert!(with("runtime", "hello\nruntime").contains("Warning: the line `hello`"));
        assert!(what("").matches("is missing").count() == 4);
        let twice = format!("CPU[1] / GPU[0] : 1\n{}", sample().render());
        let problems = what(&twice);
        assert!(problems.contains("there twice") && problems.contains("usual order"), "{problems}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_text_is_parsed_without_panic(text in "(?s).{0,200}") {
            let (readme, problems) = parse(&text);
            prop_assert_eq!(readme.is_none(), problems.iter().any(Problem::is_error));
        }

        #[test]
        fn what_is_rendered_is_parsed(
            runtime in 1e-6f64..3600.0, cpu: bool, extra_data: bool, description in "[ -~]{1,80}x",
        ) {
            let readme = Readme { runtime_per_image_s: runtime, cpu, extra_data, description };
            let (parsed, _) = parse(&readme.render());
            let parsed = parsed.expect("a rendered readme is valid");
            prop_assert!((parsed.runtime_per_image_s / runtime - 1.0).abs() < 5.1e-6);
            prop_assert_eq!((parsed.cpu, parsed.extra_data), (cpu, extra_data));
            prop_assert_eq!(parsed.render(), readme.render());
        }
    }
}
