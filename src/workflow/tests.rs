//! Workflows as they are read from files.

use super::*;

fn read(source: &str) -> Result<Workflow, String> {
    let name = source.lines().find_map(|line| line.strip_prefix("name: ")).unwrap_or("test");
    let name = Name::parse(name).unwrap();
    let definition = WorkflowDefinition { name: name.clone(), sources: [(name, source.to_owned())].into() };
    from_definition(&definition).map_err(|problems| problems.to_string())
}

#[test]
fn the_samples_are_right() {
    let workflows = load_folder("workflows".as_ref()).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<_> = workflows.iter().map(|workflow| workflow.name.as_str()).collect();
    assert_eq!(names, ["echo", "exam_practice", "simple_learning", "tour"]);
}

#[test]
fn simple_learning_is_read_as_written() {
    let workflow = read(include_str!("../../workflows/simple_learning.yaml")).unwrap();
    let student = &workflow.agents["Student_Agent"];
    assert_eq!(student.system_message, "You are a student willing to learn.");
    assert_eq!(student.description, student.system_message);
    assert_eq!(student.human_input_mode, HumanInputMode::Terminate);
    assert_eq!(student.llm.as_ref().unwrap().name.as_str(), "default");
    let paths: Vec<_> = workflow.steps.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(paths, ["subject", "lesson", "2"]);
    assert_eq!(workflow.steps[1].place, "simple_learning.yaml:15");
    let StepAction::Chat(chat) = &workflow.steps[1].action else { panic!("not a chat") };
    assert_eq!((chat.max_turns, chat.clear_history), (Some(3), true));
    assert!(matches!(chat.summary, SummaryMethod::Reflection { prompt: None, role: None }));
}

#[test]
fn each_step_has_a_path_of_its_own() {
    let source = "
version: 1
name: test
steps:
  - message: a
  - id: do
    on_error: { do: [ { id: do, message: x }, { message: x } ] }
    loop: { max: 2, do: [ { id: do, message: x }, { message: x } ] }
  - branch:
      - when: true
        do: [ { id: a, message: x }, { message: x } ]
      - else: [ { id: a, message: x }, { message: x } ]
  - id: branch
    on_error: { do: [ { message: x } ] }
    parallel:
      on_error: [ { message: x } ]
      do: [ { message: x } ]
  - id: parallel
    message: x
";
    let workflow = read(source).unwrap_or_else(|problems| panic!("{problems}"));
    let paths: Vec<&str> = all_steps(&workflow.steps).iter().map(|step| step.path.as_str()).collect();
    let expected = [
        "0",
        "do",
        "do/do/do",
        "do/do/1",
        "do/on_error/do",
        "do/on_error/1",
        "2",
        "2/branch/0/a",
        "2/branch/0/1",
        "2/branch/1/a",
        "2/branch/1/1",
        "branch",
        "branch/parallel/on_error/0",
        "branch/parallel/do/0",
        "branch/on_error/0",
        "parallel",
    ];
    assert_eq!(paths, expected);
    let unique: std::collections::BTreeSet<_> = paths.iter().collect();
    assert_eq!(unique.len(), paths.len());
}

#[test]
fn agents_have_the_defaults_of_their_class() {
    let source = "
version: 1
name: test
agents:
  conversable: {}
  assistant: { kind: assistant, llm: big, temperature: 0.1, max_tokens: 5 }
  told: { kind: assistant, system_message: Be brief. }
  person: { kind: user_proxy }
  silent: { system_message: '', llm: false }
steps:
  - message: x
";
    let workflow = read(source).unwrap_or_else(|problems| panic!("{problems}"));
    let agent = |name: &str| &workflow.agents[name];
    assert_eq!(agent("conversable").system_message, "You are a helpful AI Assistant.");
    assert_eq!(agent("conversable").human_input_mode, HumanInputMode::Terminate);
    assert_eq!(agent("conversable").max_consecutive_auto_reply, 100);
    assert!(agent("conversable").is_termination_msg.is_none());
    let assistant = agent("assistant");
    assert!(assistant.system_message.starts_with("You are a helpful AI assistant.\nSolve tasks using your coding"));
    assert!(assistant.system_message.ends_with("Reply \"TERMINATE\" in the end when everything is done.\n    "));
    assert!(assistant.description.starts_with("A helpful and general-purpose AI assistant"));
    assert_eq!(assistant.human_input_mode, HumanInputMode::Never);
    let llm = assistant.llm.as_ref().unwrap();
    assert_eq!(llm.name.as_str(), "big");
    assert_eq!(Value::Object(llm.parameters.clone()), serde_json::json!({"temperature": 0.1, "max_tokens": 5}));
    assert_eq!(agent("told").description, "Be brief.");
    let person = agent("person");
    assert_eq!((person.system_message.as_str(), person.human_input_mode), ("", HumanInputMode::Always));
    assert!(person.llm.is_none() && agent("silent").llm.is_none());
    assert!(person.description.starts_with("An attentive HUMAN user"));
}

#[test]
fn values_keep_their_types() {
    let source = "
version: 1
name: test
steps:
  - return: { a: 1, b: '{{ 1 + 1 }}', c: [true, null, 1.5], d: text, e: '007', f: 0x10 }
";
    let workflow = read(source).unwrap_or_else(|problems| panic!("{problems}"));
    let StepAction::Return(DataTemplate::Map(entries)) = &workflow.steps[0].action else { panic!("not a map") };
    let shown: Vec<String> = entries.iter().map(|(key, data)| format!("{key}={data:?}")).collect();
    let expected = [
        "a=Plain(Number(1))",
        "b=Text(Template(\"1 + 1\"))",
        "c=List([Plain(Bool(true)), Plain(Null), Plain(Number(1.5))])",
        "d=Text(Template(\"text\"))",
        "e=Text(Template(\"007\"))",
        "f=Plain(Number(16))",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_definition_holds_all_that_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, steps: &str| {
        let text = format!("version: 1\nname: {name}\nsteps:\n{steps}");
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    };
    write("a", "  - workflow: { name: b }\n  - loop: { max: 1, do: [ { workflow: { name: c, wait: false } } ] }\n");
    write("b", "  - workflow: { name: c }\n");
    write("c", "  - message: x\n");
    write("d", "  - message: x\n");
    std::fs::write(folder.path().join("a.test.yaml"), "not: a workflow").unwrap();
    let workflows = load_folder(folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
    let sources = |name: &str| {
        let workflow = workflows.iter().find(|workflow| workflow.name.as_str() == name).unwrap();
        workflow.definition.sources.keys().map(Name::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (sources("a"), sources("b"), sources("d")),
        (vec!["a".into(), "b".into(), "c".into()], vec!["b".into(), "c".into()], vec!["d".into()])
    );
    let again = from_definition(&workflows[0].definition).unwrap();
    assert_eq!(again.definition, workflows[0].definition);
    let called = called(&again, &Name::parse("b").unwrap()).unwrap();
    assert_eq!(called.definition.sources.len(), 2);
}

#[test]
fn models_that_are_not_there_are_named() {
    let source =
        "version: 1\nname: test\nagents:\n  a: {}\n  b: { llm: bigg }\n  c: { llm: false }\nsteps:\n  - message: x\n";
    let workflow = read(source).unwrap();
    let known = |names: &[&str]| names.iter().map(|name| Name::parse(name).unwrap()).collect();
    assert!(check_models(&workflow, &known(&["default", "bigg"]), &known(&[])).is_ok());
    assert!(
        check_models(&workflow, &known(&["default", "bigg"]), &known(&["bigg"])).is_ok(),
        "without a limit of money nobody asks for prices"
    );
    let problems = check_models(&workflow, &known(&["big"]), &known(&[])).unwrap_err().to_string();
    assert!(problems.contains("test.yaml:4:6: a: there is no model \"default\""), "{problems}");
    assert!(problems.contains("test.yaml:5:13: llm: there is no model \"bigg\""), "{problems}");
    assert!(problems.contains("did you mean \"big\"?"), "{problems}");

    let group = "version: 1\nname: test\nagents:\n  a: { llm: big }\n  b: { llm: big }\nsteps:\n  - id: g\n    group: { initial_agent: a, agents: [a, b], messages: go }\n";
    let problems = check_models(&read(group).unwrap(), &known(&["big"]), &known(&[])).unwrap_err().to_string();
    let manager = "the group's manager chooses speakers with it: write `manager: { llm: NAME }` in the group";
    assert!(problems.contains("there is no model \"default\"") && problems.contains(manager), "{problems}");
    let named = group.replace("messages: go", "messages: go, manager: { llm: big }");
    assert!(check_models(&read(&named).unwrap(), &known(&["big"]), &known(&[])).is_ok());

    let with_limit = read(&source.replace("agents:", "limits: { cost_usd: 1 }\nagents:")).unwrap();
    assert!(check_models(&with_limit, &known(&["default", "bigg"]), &known(&["elsewhere"])).is_ok());
    let problems = check_models(&with_limit, &known(&["default", "bigg"]), &known(&["bigg"])).unwrap_err().to_string();
    let message = "test.yaml:6:13: agents.b.llm: the limit `cost_usd` needs a price for the model \"bigg\"";
    assert!(problems.replace("agents.b.", "").contains(&message.replace("agents.b.", "")), "{problems}");
    assert!(problems.contains("under `prices:` of fastagency.yaml"), "{problems}");
}

#[test]
fn retry_takes_every_kind_of_failure_and_no_other_word() {
    let on = |kinds: &str| {
        read(&format!("version: 1\nname: test\nsteps:\n  - {{ message: x, retry: {{ max: 1, on: [{kinds}] }} }}\n"))
    };
    let all: Vec<&str> = FailureKind::ALL.iter().map(FailureKind::as_str).collect();
    let workflow = on(&all.join(", ")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(workflow.steps[0].retry.as_ref().unwrap().on, FailureKind::ALL);
    let problems = on("timeuot").unwrap_err();
    assert!(problems.contains("\"timeuot\" is no kind of failure"), "{problems}");
    assert!(problems.contains("did you mean \"timeout\"?"), "{problems}");
    let problems = on("busy").unwrap_err();
    assert!(problems.contains("one of answer, broker, cut, denied"), "{problems}");
}
