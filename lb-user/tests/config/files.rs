//! Whole files: many errors at once, texts that are not TOML, files that cannot be read, and how
//! it all looks.

use std::{error::Error, fs};

use lb_user::config;

use crate::expect::expect;

const MANY: &str = r#"
[lb]
secret = ▶"abc"
▶hsh = "siphash"
[[interface]]
name = "eth0"
mac = ▶"zz"
[[cluster]]
name = "A"
weight = ▶"3"
min_survival_ratio = 0.5
min_survivors = ▶2
▶dispatch = "direct"
health = { kind = ▶"tpc", interval = ▶"1", timeout = ▶5 }
nodes = [
    { name = "a1", address = "10.0.0.1", port = ▶80 },
    { name = ▶"a1", address = ▶"10.0.0.1", port = ▶80, ▶uu = 1 },
    ▶3,
]
▶[[cluster]]
nodes = ▶[]
[[service]]
name = "web"
address = "192.0.2.10:443"
masters = ["A", ▶"AA"]
standbys = ▶"A"
backup = ▶"one-stanby"
▶[[service]]
name = ▶"web"
address = ▶"192.0.2.10:443"
masters = ["A", "B"]
[[▶cluter]]
"#;

#[test]
fn all_errors_at_once() {
    let text = MANY.replace("\"B\"", "▶\"B\"");
    // The one standby is in error twice: it stands without a list, and it is a master, too.
    let errors = config::parse(&text.replace('▶', ""), "lb.toml").err();
    let list = errors.as_ref().map_or_else(Vec::new, |errors| errors.list());
    let twice: Vec<_> = list.iter().filter(|(line, ..)| *line == 26).map(|(.., m)| *m).collect();
    assert_eq!(
        twice,
        [
            "standbys: expected a list, found a string",
            "\"A\" is master and standby of service \"web\""
        ]
    );
    let text = text.replace("standbys = ▶\"A\"", "standbys = ▶3");
    expect(
        &text,
        &[
            ("secret", "32 hex"),
            ("unknown field `hsh`", "`hash`"),
            ("mac", "six bytes"),
            ("weight", "whole number"),
            ("two thresholds", "not both"),
            ("`dispatch` is not supported yet", "leave it out"),
            ("kind", "\"tcp\""),
            ("interval", "unit"),
            ("timeout", "unit"),
            ("port: 80 is not the port of", "the service's"),
            ("two nodes of cluster \"A\" are named \"a1\"", ""),
            ("two nodes have the address 10.0.0.1:80", ""),
            ("port: 80 is not the port of", "the service's"),
            ("unknown field `uu`", "name, address"),
            ("nodes: expected a table", "[[nodes]]"),
            ("`name` is missing", "add name"),
            ("at least one node", "nodes = ["),
            ("no cluster \"AA\"", "there are A"),
            ("standbys: expected a list", "[ … ]"),
            ("one-stanby", "one-standby"),
            ("`backup` is missing", "multi-master"),
            ("two services are named", ""),
            ("two services have the address", ""),
            ("no cluster \"B\"", "there are A"),
            ("unknown field `cluter`", "`cluster`"),
        ],
    );
}

#[test]
fn what_is_not_toml() {
    let not = "not TOML: ";
    // What is on other lines is still judged, and nothing is called missing.
    expect("[lb]\nhash = ▶siphash\nbpffs = ▶3\n", &[(not, ""), ("bpffs", "an absolute path")]);
    expect(
        "[[cluster▶]\nnam▶e\n[[cluster]]\nweight = ▶-3\nwieght = 3",
        &[(not, ""), (not, ""), ("weight", "0 to")],
    );
    expect("[[cluster]]\nname = '▶A\nweight = ▶03\n", &[(not, ""), (not, "")]);
    // Names are not looked up: the one that is asked for may be in what is damaged.
    let lost = "[[cluster▶]\nname = \"A\"\n[[service]]\nname = \"web\"\n\
                address = \"192.0.2.10:443\"\nmasters = [\"A\"]\n";
    expect(lost, &[(not, "")]);
    // A key given twice damages nothing.
    let twice = "▶[lb]\nhash = \"siphash\"\n▶hash = \"siphash\"\n";
    expect(twice, &[("`service` is missing", ""), ("not TOML: duplicate key", "once")]);
    // An unclosed bracket takes in what follows: one error for it, and not one a line.
    let unclosed = "[lb]\nbpffs = ▶sys\n[[cluster]]\nnodes = [ { name = \"a1\" }\n▶[[service]]\n\
                    name = \"web\"\nmasters = [\"A\"]\nweight = 3\n";
    let help = "close the `[` or `{` before this";
    expect(unclosed, &[(not, ""), ("missing comma", help)]);
    expect("[[cluster]]\nnodes = [ { name = \"a1\" ▶]\nweight = -3", &[(not, help)]);
}

#[test]
fn files_that_cannot_be_read() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lb.toml");
    let error = |path: &std::path::Path| -> Result<config::Diagnostic, Box<dyn Error>> {
        let errors = config::load(path).err().ok_or("accepted")?;
        assert!(errors.to_string().starts_with(&path.display().to_string()), "{errors}");
        assert!(!errors.render(false).is_empty());
        Ok(errors.diagnostics().first().ok_or("no error")?.clone())
    };
    let missing = error(&path)?;
    assert!(missing.message().contains("cannot read the configuration: No such file"));
    assert_eq!((missing.line(), missing.column(), missing.help()), (0, 0, Some("check the path")));
    assert!(error(folder.path())?.help().is_some_and(|help| help.contains("not a directory")));

    fs::write(&path, b"[lb]\n# \xc3\xa4 \xff\n")?;
    let latin = error(&path)?;
    assert_eq!((latin.line(), latin.column()), (2, 5));
    assert!(latin.message().contains("not UTF-8: byte 0xff"), "{}", latin.message());

    fs::write(&path, "[[service]]\n")?;
    assert_eq!(error(&path)?.line(), 1);
    fs::write(&path, include_str!("../../../examples/minimal.toml"))?;
    assert!(config::load(&path).is_ok());
    Ok(())
}

#[test]
fn a_person_reads_this() {
    let text = "[[cluster]]\r\nname = \"A\"\r\nnodes = [{ name = \"ü\", address = \"10.0.0.1\" },\r\n\
                \t{ name = \"a\", address = \"10.0.0.1\" }]\r\n[[service]]\r\nname = \"web\"\r\n\
                address = \"192.0.2.10:443\"\r\nmasters = [\"A\"]\r\nprotcol = \"tcp\"\r";
    let Err(errors) = config::parse(text.trim_end(), "lb.toml") else { panic!("accepted") };
    let expected = r#"
  × name: "ü" will not do
   ╭─[lb.toml:3:19]
 3 │ nodes = [{ name = "ü", address = "10.0.0.1" },
   ·                   ───
   ╰────
  help: 1 to 64 letters, digits, `-`, `_`, `.`

  × two nodes have the address 10.0.0.1
   ╭─[lb.toml:4:26]
 3 │ nodes = [{ name = "ü", address = "10.0.0.1" },
   ·                                  ─────┬────
   ·                                       ╰── the first one
 4 │     { name = "a", address = "10.0.0.1" }]
   ·                             ──────────
   ╰────
  help: each needs its own address or port

  × unknown field `protcol`
   ╭─[lb.toml:9:1]
 9 │ protcol = "tcp"
   · ───────
   ╰────
  help: did you mean `protocol`?

"#;
    assert_eq!(format!("\n{}", errors.render(false)), expected);
    assert!(errors.render(true).contains("\u{1b}["), "colours for a terminal");
    assert_eq!(
        errors.to_string(),
        "lb.toml:3:19: name: \"ü\" will not do\n\
         lb.toml:4:26: two nodes have the address 10.0.0.1\n\
         lb.toml:9:1: unknown field `protcol`"
    );
}

#[test]
fn a_secret_is_not_shown_with_its_neighbours() {
    let secret = "00112233445566778899aabbccddeeff";
    let text = format!("[lb]\nsecret = \"{secret}\"\nhash = 3\n");
    let Err(errors) = config::parse(&text, "lb.toml") else { panic!("accepted") };
    assert_eq!(errors.list().len(), 2);
    assert!(!errors.render(false).contains(secret) && !errors.to_string().contains(secret));
}

#[test]
fn programs_read_this() -> Result<(), serde_json::Error> {
    let Err(errors) = config::parse("[[service]]\nname = 3", "lb.toml") else { panic!("accepted") };
    let json = serde_json::to_value(errors.diagnostics())?;
    let expected = serde_json::json!({
        "severity": "error", "file": "lb.toml", "line": 2, "column": 8,
        "message": "name: expected a string, found an integer", "help": "text in quotes",
    });
    assert_eq!(json[2], expected, "{json:#}");
    Ok(())
}
