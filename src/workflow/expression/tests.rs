use minijinja::context;
use serde_json::json;

use super::*;

fn example() -> minijinja::Value {
    context! {
        params => context! { age => 18, name => "Ada", list => vec![1, 2, 3], texts => vec!["a", "b"], empty => Vec::<i32>::new() },
        steps => context! {
            answer => "9",
            skipped => (),
            form => context! { colour => "red", sizes => vec![1.5, 2.5] },
            people => vec![context! { name => "Bo", age => 5 }, context! { name => "Al", age => 7 }],
        },
        vars => context! { grade => (), tries => 2, on => true },
        message => context! { content => "all done. TERMINATE" },
    }
}

fn evaluated(source: &str) -> Result<Value, String> {
    Expression::parse(source).and_then(|expression| expression.evaluate(&example())).map_err(|error| error.message)
}

#[test]
fn expressions_have_the_value_that_jinja_gives_them() {
    for (source, value) in [
        ("params.age", json!(18)),
        ("params.age + 1 * 2", json!(20)),
        ("(params.age + 1) * 2", json!(38)),
        ("-(params.age ** 2)", json!(-324)),
        ("2 ** 3 ** 1", json!(8)),
        ("10 - 3 - 2", json!(5)),
        ("100 // 7 % 4", json!(2)),
        ("1 / 4", json!(0.25)),
        ("1e3", json!(1000.0)),
        ("\"a\" ~ 1 ~ 'b'", json!("a1b")),
        ("'it''s' ~ \"q\\\"uo\\nte \\u00e4 { } %}\"", json!("itsq\"uo\nte ä { } %}")),
        ("params.age > 9", json!(true)),
        ("1 < 2 < 3", json!(true)),
        ("1 < 3 < 2", json!(false)),
        ("(1 < 2) == (3 > 2)", json!(true)),
        ("not 1 == 2", json!(true)),
        ("not (1 == 1 and 2 == 3) or false", json!(true)),
        ("true or params.age == 'x'", json!(true)),
        ("false and params.age == 'x'", json!(false)),
        ("'a < b' == \"a < b\"", json!(true)),
        ("\"TERMINATE\" in message.content", json!(true)),
        ("\"x\" not in message.content", json!(true)),
        ("not \"x\" in message.content", json!(true)),
        ("2 in params.list", json!(true)),
        ("9 in params.list", json!(false)),
        ("'a' in params.empty", json!(false)),
        ("'colour' in steps.form", json!(true)),
        ("'size' in steps.form", json!(false)),
        ("steps.form.colour == 'red' and vars.tries >= 2", json!(true)),
        ("steps['form'][\"colour\"]", json!("red")),
        ("steps.form.sizes[1]", json!(2.5)),
        ("params.list[-1]", json!(3)),
        ("params.list[1:]", json!([2, 3])),
        ("params.list[::2]", json!([1, 3])),
        ("params.name[0]", json!("A")),
        ("vars.grade == 'F'", json!(false)),
        ("vars.grade == none", json!(true)),
        ("vars.grade == null", json!(true)),
        ("[null, none]", json!([null, null])),
        ("vars.grade is none", json!(true)),
        ("vars.grade is not none", json!(false)),
        ("params.missing is defined", json!(false)),
        ("params.missing | default('x')", json!("x")),
        ("params.missing is undefined or params.missing > 3", json!(true)),
        ("params.age is gt(3)", json!(true)),
        ("params.age is gt 3", json!(true)),
        ("params.list | length > 2", json!(true)),
        ("params.list | map('string') | join('-')", json!("1-2-3")),
        ("params.list | sum == 6", json!(true)),
        ("steps.people | selectattr('age', 'gt', 5) | map(attribute='name') | list", json!(["Al"])),
        ("steps.people | sort(attribute='age') | map(attribute='name') | list", json!(["Bo", "Al"])),
        ("params.list | max", json!(3)),
        ("params.list | select('odd') | list", json!([1, 3])),
        ("'yes' if params.age >= 18 else 'no'", json!("yes")),
        ("'yes' if params.age < 18", json!("")),
        ("{'a': params.age, 'b': [1, (2 > 1)]}", json!({"a": 18, "b": [1, true]})),
        ("(1, 'x')", json!([1, "x"])),
        ("range(3) | list", json!([0, 1, 2])),
        ("[1, 2] == [1, 2]", json!(true)),
        ("steps.answer | int > 8", json!(true)),
        ("1 == 1.0", json!(true)),
        ("vars.on == true", json!(true)),
        ("'b' > 'a'", json!(true)),
        ("steps.skipped", json!(null)),
        ("9007199254740993", json!(9007199254740993_i64)),
        ("steps.form", json!({"colour": "red", "sizes": [1.5, 2.5]})),
    ] {
        assert_eq!(evaluated(source), Ok(value), "{source}");
    }
}

#[test]
fn unlike_types_are_never_compared() {
    for (source, message) in [
        ("steps.answer > 18", "cannot compare text \"9\" with number 18"),
        ("\"9\" > 18", "cannot compare text \"9\" with number 18"),
        ("18 <= steps.answer", "cannot compare number 18 with text \"9\""),
        ("steps.answer == 9", "cannot compare text \"9\" with number 9"),
        ("steps.answer != 9", "cannot compare text \"9\" with number 9"),
        ("1 < 2 < steps.answer", "cannot compare number 2 with text \"9\""),
        ("not (steps.answer < 3)", "cannot compare text \"9\" with number 3"),
        ("params.age if steps.answer < 3 else 1", "cannot compare text \"9\" with number 3"),
        ("[steps.answer < 3]", "cannot compare text \"9\" with number 3"),
        ("params.list[steps.answer < 3]", "cannot compare text \"9\" with number 3"),
        ("(steps.answer < 3) | string", "cannot compare text \"9\" with number 3"),
        ("params.list | default(steps.answer < 3)", "cannot compare text \"9\" with number 3"),
        ("steps.answer is gt(3)", "cannot compare text \"9\" with number 3"),
        ("steps.answer is eq 3", "cannot compare text \"9\" with number 3"),
        ("steps.answer is in(params.list)", "cannot look for text \"9\" in a list of other types (number 1)"),
        ("steps.people | selectattr('age', 'gt', '5') | list", "cannot compare number 5 with text \"5\""),
        ("params.texts | select('==', 1) | list", "cannot compare text \"a\" with number 1"),
        ("[1, 'a'] | sort", "cannot compare number 1 with text \"a\""),
        ("[1, 'a'] | min", "cannot compare number 1 with text \"a\""),
        ("vars.on == 1", "cannot compare true with number 1"),
        ("vars.on > false", "true and false have no order"),
        ("vars.grade > 1", "cannot compare null with number 1"),
        ("params.list > 1", "cannot compare a list with number 1"),
        ("params.list == 'x'", "cannot compare a list with text \"x\""),
        ("steps.answer in params.list", "cannot look for text \"9\" in a list of other types (number 1)"),
        ("1 in steps.answer", "cannot look for number 1 in text \"9\""),
        ("'x' in vars.grade", "cannot look for text \"x\" in null"),
        ("'x' in 5", "cannot look for text \"x\" in number 5"),
    ] {
        let error = evaluated(source).expect_err(source);
        assert!(error.contains(message), "{source}: {error}");
        assert!(error.starts_with("in `"), "{error}");
        let error = Template::parse(&format!("a {{% if true %}}{{{{ {source} }}}}{{% endif %}}"));
        let error = error.and_then(|template| template.render(&example())).expect_err(source);
        assert!(error.message.contains(message), "{source} in a template: {error}");
    }
}

#[test]
fn what_is_undefined_is_named() {
    for (source, message) in [
        ("params.topic", "in `params.topic`: `params.topic` is not defined"),
        ("steps.form.size.x", "in `steps.form.size.x`: `steps.form.size` is not defined"),
        ("steps.skipped.summary", "in `steps.skipped.summary`: `steps.skipped` is null, it has no `summary`"),
        ("nobody", "in `nobody`: `nobody` is not defined"),
        ("params.topic == 'x'", "in `params.topic == 'x'`: `params.topic` is not defined"),
        ("params.topic and true", "in `params.topic and true`: `params.topic` is not defined"),
        ("[params.topic]", "in `[params.topic]`: a part of the value is not defined"),
        ("params.topic | upper", "in `params.topic | upper`: `params.topic` is not defined"),
    ] {
        assert_eq!(evaluated(source), Err(message.to_owned()), "{source}");
    }
    let template = Template::parse("Hello {{ params.name }}, {{ params.topic }}!").unwrap();
    assert_eq!(template.render(&example()).unwrap_err().message, "in `params.topic`: `params.topic` is not defined");
}

#[test]
fn mistakes_are_found_when_parsing() {
    for (source, message) in [
        ("params.age +", "unexpected end of input, expected expression"),
        ("params.age = 3", "unexpected input after expression"),
        ("{{ params.age }}", "an expression here is written without braces"),
        ("params.name | uper", "there is no filter \"uper\"; did you mean \"upper\"?"),
        ("params.name is defned", "there is no test \"defned\"; did you mean \"defined\"?"),
        ("params.name.strip()", "there is no method \"strip\""),
        ("strip(params.name)", "there is no function \"strip\""),
        ("env('HOME')", "there is no function \"env\""),
        ("__compare(1, '<', 2)", "there is no function"),
        ("__x", "reserved"),
        ("debug()", "there is no function \"debug\""),
        ("", "unexpected end of input"),
    ] {
        let error = Expression::parse(source).expect_err(source);
        assert!(error.message.contains(message), "{source}: {error}");
    }
    for source in
        ["{% include 'x' %}", "{% macro a() %}{% endmacro %}", "{% set __compare = 1 %}", "{{ a ", "{% if x %}"]
    {
        assert!(Template::parse(source).is_err(), "{source}");
    }
}

#[test]
fn templates_keep_types_only_where_they_are_one_expression() {
    for (source, value) in [
        ("plain text", json!("plain text")),
        ("a line\n", json!("a line\n")),
        ("{ not a template }", json!("{ not a template }")),
        ("{{ params.age }}", json!(18)),
        ("{{ params.list }}\n", json!([1, 2, 3])),
        (" {{ params.age }}", json!(" 18")),
        ("{{ params.age }}{{ params.age }}", json!("1818")),
        ("Hello {{ params.name }}!\n", json!("Hello Ada!\n")),
        (
            "{{ params.list }} and {{ steps.skipped }} and {{ vars.on }} {{ 1.0 }}",
            json!("[1,2,3] and null and true 1.0"),
        ),
        ("{{ steps.form }}.", json!("{\"colour\":\"red\",\"sizes\":[1.5,2.5]}.")),
        ("<b>{{ '<i>' }}</b>", json!("<b><i></b>")),
        ("{# a comment #}x", json!("x")),
        ("{% raw %}{{ x }} {% y %}{% endraw %}", json!("{{ x }} {% y %}")),
        ("{% for n in params.list if n > 1 %}{{ n }}{{ ',' if not loop.last }}{% endfor %}", json!("2,3")),
        ("{% for k, v in steps.form | items %}{{ k }}={{ v }};{% endfor %}", json!("colour=red;sizes=[1.5,2.5];")),
        ("{% if params.age >= 18 %}old{% elif true %}x{% else %}young{% endif %} \"q\"\n", json!("old \"q\"\n")),
        ("{% set x = params.age + 1 %}{{ x }}", json!("19")),
        (
            "{% set c = namespace(n=0) %}{% for i in params.list %}{% set c.n = c.n + i %}{% endfor %}{{ c.n }}",
            json!("6"),
        ),
        ("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}", json!("3")),
        ("{% for i in [] %}x{% else %}none{% endfor %}", json!("none")),
        ("{%- if true -%}  a  {%- endif -%}  ", json!("a")),
        ("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", json!("012")),
    ] {
        let template = Template::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(template.evaluate(&example()), Ok(value), "{source}");
    }
}

#[test]
fn names_are_those_of_the_context() {
    let names = |source: &str| {
        let mut names: Vec<String> =
            Template::parse(source).unwrap().names().iter().map(|path| path.join(".")).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names("{{ steps.lesson.summary }} {{ params['topic'] }}"), ["params.topic", "steps.lesson.summary"]);
    assert_eq!(names("{{ steps.people[0].name | default(vars.x) }}"), ["steps.people.0.name", "vars.x"]);
    assert_eq!(names("{{ steps[params.which].x }}"), ["params.which", "steps"]);
    assert_eq!(
        names("{% for item in steps.list %}{{ item.x }} {{ loop.index }} {{ run.id }}{% endfor %}"),
        ["run.id", "steps.list"]
    );
    assert_eq!(names("{% for x in x %}{{ x }}{% endfor %}"), ["x"]);
    assert_eq!(names("{% set a = user.name %}{{ a }}"), ["user.name"]);
    assert_eq!(names("{{ steps.my-id }}"), ["id", "steps.my"]);
    assert_eq!(names("plain"), Vec::<String>::new());
}

#[test]
fn in_a_text_an_anonymous_caller_has_an_empty_name() {
    let list = vec![context! { name => () }];
    let nobody = context! { user => context! { id => (), name => () }, list => list.clone() };
    let ann = context! { user => context! { id => "ann", name => "ann" }, list => list.clone() };
    let rendered = |source: &str, context| Template::parse(source).unwrap().render(context).unwrap();
    for (source, empty, named) in [
        ("Hello{{ user.name }}!", "Hello!", "Helloann!"),
        ("{{ user.id }}", "", "ann"),
        ("{% if true %}Hello {{ user['name'] }}{% endif %}", "Hello ", "Hello ann"),
        ("{% for user in list %}{{ user.name }}{% endfor %}", "null", "null"),
        ("{{ user.name or 'guest' }}.", "guest.", "ann."),
        ("{{ user.name == null }}.", "true.", "false."),
    ] {
        assert_eq!([rendered(source, &nobody), rendered(source, &ann)], [empty, named], "{source}");
    }
    assert_eq!(Template::parse("{{ user.name }}").unwrap().evaluate(&nobody).unwrap(), Value::Null);
}

#[test]
fn nothing_runs_for_ever() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
        "{{ 'x' * 100000000000 }}",
        "{{ range(100000000) | list }}",
    ] {
        let begun = std::time::Instant::now();
        assert!(Template::parse(source).unwrap().render(&example()).is_err(), "{source}");
        assert!(begun.elapsed().as_secs() < 5);
    }
    let deep = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(Expression::parse(&deep).is_err());
    let long = vec!["params.age"; 2000].join(" + ");
    assert_eq!(evaluated(&long), Ok(json!(36000)));
}

#[test]
fn only_true_and_false_hold() {
    let holds = |source: &str| Expression::parse(source).unwrap().holds(&example()).map_err(|error| error.message);
    assert_eq!(holds("vars.on"), Ok(true));
    assert_eq!(holds("params.age < 3"), Ok(false));
    assert_eq!(holds("steps.answer"), Err("`steps.answer` is text \"9\", neither true nor false".to_owned()));
    assert_eq!(holds("vars.grade"), Err("`vars.grade` is null, neither true nor false".to_owned()));
}

/// Every small expression over a few values and operators has either minijinja's value or our refusal: the guard changes
/// nothing else.
#[test]
fn the_guard_changes_nothing_but_refusals() {
    let atoms = ["1", "2.5", "'a'", "'9'", "true", "none", "[1, 2]", "params.age", "steps.answer", "-1"];
    let operators = ["<", "<=", ">", ">=", "==", "!=", "in", "not in", "+", "~", "and", "or"];
    let mut plain = Environment::new();
    plain.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut agreed = 0;
    let mut check = |source: String| {
        let Ok(ours) = evaluated(&source) else { return };
        let theirs = plain.compile_expression(&source).and_then(|expression| expression.eval(example()));
        assert_eq!(Ok(ours), values::json(&theirs.unwrap()), "{source}");
        agreed += 1;
    };
    for a in atoms {
        for b in atoms {
            for first in operators {
                check(format!("{a} {first} {b}"));
                check(format!("not {a} {first} {b}"));
                for second in operators {
                    check(format!("{a} {first} {b} {second} 1"));
                    check(format!("({a} {first} {b}) {second} {a}"));
                    check(format!("{a} {first} ({b} {second} {a})"));
                }
            }
        }
    }
    assert!(agreed > 5000, "{agreed}");
}

/// What templates may not build, however few steps it takes.
#[test]
fn a_template_builds_no_more_than_it_may_however_few_steps_it_takes() {
    let context = context! { params => context! { text => "a".repeat(60_000), lines => "\n".repeat(60_000), many => vec!["x".repeat(1000); 10_000] } };
    let doubled = |start: &str, next: &str, shown: &str| {
        format!(
            "{{% set ns = namespace(x={start}) %}}{{% for i in range(40) %}}{{% set ns.x = {next} %}}{{% endfor %}}{{{{ {shown} }}}}"
        )
    };
    let large = "more than 16 MiB";
    for (template, says) in [
        (doubled("'ab'", "ns.x ~ ns.x", "ns.x|length"), large),
        (doubled("'ab'", "ns.x + ns.x", "ns.x|length"), large),
        (doubled("[1]", "ns.x + ns.x", "ns.x|length"), large),
        (doubled("[1]", "[ns.x, ns.x]", "ns.x"), large),
        (doubled("{}", "{'a': ns.x, 'b': ns.x}", "ns.x"), large),
        (doubled("{}", "dict(a=ns.x, b=ns.x)", "1"), large),
        (doubled("[1]", "ns.x|chain(ns.x)", "ns.x|length"), large),
        (doubled("[1]", "ns.x|zip(ns.x)", "1"), large),
        (doubled("[1]", "ns.x * 10", "1"), large),
        (
            "{% set ns = namespace(x=1) %}{% for i in range(400) %}{% set ns.x = [ns.x] %}{% endfor %}".to_owned(),
            "deep",
        ),
        ("{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}".to_owned(), "deep"),
        ("{% for i in range(1000) %}{{ params.text }}{% endfor %}".to_owned(), large),
        ("{{ params.text|replace('a', params.text) }}".to_owned(), large),
        ("{{ params.text|replace('', params.text) }}".to_owned(), large),
        ("{{ params.text|list|map('replace', 'a', params.text)|list|length }}".to_owned(), "takes too long"),
        ("{{ params.many|join(params.text) }}".to_owned(), large),
        ("{{ (params.many * 100)|join }}".to_owned(), large),
        ("{{ params.lines|indent(100000, true, true) }}".to_owned(), large),
        ("{{ params.text * 1000 }}".to_owned(), large),
        ("{{ [params.text] * 1000 }}".to_owned(), large),
        ("{{ '%100000000d'|format(1) }}".to_owned(), large),
        ("{{ ('%(a)s' * 1000)|format(a=params.text) }}".to_owned(), large),
        ("{{ [1]|batch(100000000, 1) }}".to_owned(), large),
        ("{{ [1]|slice(100000000) }}".to_owned(), large),
        ("{{ params.many|sum(start='') }}".to_owned(), "takes too long"),
        ("{{ range(100000)|tojson(indent=100000) }}".to_owned(), large),
    ] {
        let begun = std::time::Instant::now();
        let refused = Template::parse(&template).unwrap().evaluate(&context).unwrap_err().message;
        assert!(refused.contains(says), "{template}: {refused}");
        assert!(begun.elapsed().as_secs() < 20, "{template} took {:?}", begun.elapsed());
    }
    for fine in [
        "{{ params.text|replace('a', 'bbb')|length }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(2000) %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x|length }}",
        "{% set ns = namespace(x='') %}{% for i in range(2000) %}{% set ns.x = ns.x ~ 'line\n' %}{% endfor %}{{ ns.x|length }}",
        "{{ params.many|join(', ')|length }}",
        "{{ '%05d %(a)s'|length }}",
        "{{ 2 * 3 }}{{ 'ab' * 3 }}{{ '%s-%5d'|format('x', 3) }}{{ [{'n': 2}, {'n': 3}]|sum(attribute='n') }}{{ [1]|zip([2])|list }}",
        "{{ [{'n': 'a'}, {'n': 'b'}]|join('/', attribute='n') }}{{ {'a': [1]}|tojson(indent=2) }}{{ 'a\nb'|indent(width=2) }}",
    ] {
        Template::parse(fine).unwrap().evaluate(&context).unwrap();
    }
}

#[test]
fn a_number_that_keeps_its_digits_changes_nothing_around_it() {
    let x: Value = serde_json::from_str(r#"{"a": 1, "b": 1.50, "c": [{"d": 120.00}], "e": {}}"#).unwrap();
    let orders: Value = serde_json::from_str(r#"[{"n": 2.50, "id": "b"}, {"n": 1e0, "id": "a"}]"#).unwrap();
    let context = context! { params => context! { x => seen(&x), orders => seen(&orders) } };
    let shown = |template: &str| Template::parse(template).unwrap().render(&context).unwrap();
    let written = r#"{"a":1,"b":1.50,"c":[{"d":120.00}],"e":{}}"#;
    assert_eq!(shown("<{{ params.x }}>"), format!("<{written}>"));
    assert_eq!(shown("<{{ params.x | tojson }}>").replace(": ", ":").replace(", ", ","), format!("<{written}>"));
    assert_eq!(shown("<{{ [params.x] | tojson }}>").replace(": ", ":").replace(", ", ","), format!("<[{written}]>"));
    assert_eq!(
        shown("<{{ params.x | tojson(indent=2) }}>"),
        "<{\n  \"a\": 1,\n  \"b\": 1.50,\n  \"c\": [\n    {\n      \"d\": 120.00\n    }\n  ],\n  \"e\": {}\n}>"
    );
    for (expression, value) in [
        ("params.x == {'a': 1, 'b': 1.5, 'c': [{'d': 120}], 'e': {}}", json!(true)),
        ("params.x != {'a': 1, 'b': 1.6, 'c': [{'d': 120}], 'e': {}}", json!(true)),
        ("{'d': 120} in params.x.c", json!(true)),
        ("'b' in params.x", json!(true)),
        ("params.orders | sort(attribute='n') | map(attribute='id') | list", json!(["a", "b"])),
        ("(params.orders | max(attribute='n')).id", json!("b")),
    ] {
        assert_eq!(Expression::parse(expression).unwrap().evaluate(&context).unwrap(), value, "{expression}");
    }
}
