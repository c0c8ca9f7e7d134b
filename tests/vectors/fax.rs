//! Reads the answer files of NIST's CAVS: sections of `[name = value]` lines, then cases of `name = value` lines.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use keyferry::crypto::Secret;

/// The cases of a file and the sections that they stand in.
pub struct Fax {
    pub sections: Vec<Section>,
}

pub struct Section {
    /// `[SHA-1]` is a name without value.
    pub parameters: Vec<(String, Option<String>)>,
    pub cases: Vec<Case>,
}

/// One case: its values by their names.
pub struct Case(BTreeMap<String, Vec<u8>>);

impl Fax {
    pub fn read(name: &str) -> Self {
        let path = format!("{}/tests/vectors/nist/{name}.fax.gz", env!("CARGO_MANIFEST_DIR"));
        let mut text = String::new();
        GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        let mut in_header = false;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(parameter) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                if !in_header {
                    sections.push(Section { parameters: Vec::new(), cases: Vec::new() });
                }
                in_header = true;
                let (name, value) = parameter.split_once(" = ").map_or((parameter, None), |(n, v)| (n, Some(v.into())));
                sections.last_mut().unwrap().parameters.push((name.into(), value));
                continue;
            }
            in_header = false;
            let (name, value) = line.split_once(" = ").unwrap_or_else(|| panic!("not understood: {line}"));
            let cases = &mut sections.last_mut().expect("a section before the first case").cases;
            if name == "COUNT" {
                assert_eq!(value.parse(), Ok(cases.len()), "a case is missing");
                cases.push(Case(BTreeMap::new()));
            } else {
                let value = keyferry::hex::decode(value).unwrap_or_else(|| panic!("not hexadecimal: {line}"));
                assert!(cases.last_mut().unwrap().0.insert(name.into(), value).is_none(), "twice: {line}");
            }
        }
        Self { sections }
    }
}

impl Section {
    /// `check`s every case and returns how many there are: not none.
    pub fn check(&self, names: &[&str], check: impl Fn(&Case)) -> usize {
        assert!(!self.cases.is_empty(), "no case in {:?}", self.parameters);
        for case in &self.cases {
            assert!(case.0.keys().all(|name| names.contains(&name.as_str())), "not understood: {:?}", case.0.keys());
            check(case);
        }
        self.cases.len()
    }
}

impl Case {
    pub fn get(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub fn secret(&self, name: &str) -> Secret {
        Secret::from_slice(self.get(name))
    }

    /// Fails unless `computed` is the value of that name.
    pub fn expect(&self, name: &str, computed: &Secret) {
        assert_eq!(computed.as_bytes(), self.get(name), "{name}");
    }
}
