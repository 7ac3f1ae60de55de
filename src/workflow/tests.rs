//! Workflows as they are read from files.

use super::*;

fn read(source: &str) -> Result<Workflow, String> {
    let name = source.lines().find_map(|line| line.strip_prefix("name: ")).unwrap_or("test");
    let name = Name::parse(name).unwrap();
    let definition = Definition { name: name.clone(), sources: [(name, source.to_owned())].into() };
    from_definition(&definition).map_err(|problems| problems.to_string())
}

#[test]
fn the_samples_are_right() {
    let workflows = load_folder("workflows".as_ref()).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<_> = workflows.iter().map(|workflow| workflow.name.as_str()).collect();
    assert_eq!(names, ["echo", "simple_learning", "tour"]);
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
    let Action::Chat(chat) = &workflow.steps[1].action else { panic!("not a chat") };
    assert_eq!((chat.max_turns, chat.clear_history), (Some(3), true));
    assert!(matches!(chat.summary, SummaryMethod::Reflection { prompt: None, role: None }));
}
