// @ts-check
/** The conversations that the played gateway knows. Between them they use every record, message type and question. */

const lesson = (subject) => `A **triangle** has three sides, three corners and, in the plane, angles that add up to 180°. You asked about ${subject}; here is how its area is found:

\`\`\`python
# Half of base times height.
def area(base: float, height: float) -> float:
    return base * height / 2

print(f"{area(3, 4)} square metres")
\`\`\`

| Kind | Equal sides | Angles |
|---|---|---|
| equilateral | 3 | all 60° |
| isosceles | 2 | two alike |
| scalene | 0 | all different |

- Every triangle is *rigid*, which is why bridges are full of them.
- See also [the proof](https://example.org/proof) of the sum of its angles.`;

const words = (count) => Array.from({ length: count }, (_, position) => `word${position}`).join(' ');

const tripSchema = {
  type: 'object', required: ['name', 'guests', 'day', 'room'],
  properties: {
    name: { type: 'string', title: 'Your name', minLength: 2, description: 'As it should stand on the door.' },
    guests: { type: 'integer', minimum: 1, description: 'You included.' },
    budget: { type: 'number', title: 'Budget in euros' },
    day: { type: 'string', format: 'date', title: 'Day' },
    room: { enum: ['small', 'large', 'garden'], title: 'Room' },
    extras: { type: 'array', items: { enum: ['projector', 'lunch', 'music'] }, title: 'Extras' },
    quiet: { type: 'boolean', title: 'A quiet place, please', default: true },
    note: { type: 'string', maxLength: 500, title: 'Anything else?' },
  },
};

const deliverySchema = {
  type: 'object', required: ['phone', 'terms'],
  properties: {
    phone: { type: 'string', title: 'Phone', pattern: '^\\+[0-9 ]{6,}$', description: 'With the country, like +385 1 234.' },
    hours: { type: 'number', title: 'Hours', multipleOf: 0.5, maximum: 40 },
    tier: { enum: ['silver', 'golden'], title: 'Tier', default: 'silver' },
    wrapping: { enum: ['paper', 'box'], title: 'Wrapping' },
    tags: { type: 'array', items: { type: 'string' }, title: 'Tags' },
    address: {
      type: 'object', title: 'Address', required: ['street', 'zip'],
      properties: { street: { type: 'string', title: 'Street' }, zip: { type: 'string', title: 'Zip' }, country: { enum: ['HR', 'SI'], title: 'Country', default: 'HR' } },
    },
    code: { type: 'string', title: 'Code', format: 'password' },
    terms: { type: 'boolean', const: true, title: 'I agree to the terms' },
  },
};

/** @type {Record<string, any>} */
export const scripts = {
  simple_learning: {
    description: 'A student and a teacher talk about what you want to learn.',
    play: async (stage) => {
      const subject = await stage.ask('Teacher', 'text_input', { prompt: 'What subject would you like to **explore**?', suggestions: ['triangles', 'the French Revolution', 'prime numbers'] });
      await stage.pause(600);
      await stage.stream('Teacher', 'Student', lesson(subject));
      await stage.tool('Student', 'Calculator', 'triangle_area', { base: 3, height: 4 }, { area: 6, unit: 'm²' });
      await stage.stream('Student', 'Teacher', 'So a triangle of base 3 and height 4 has an area of **6 m²**. What about one whose height I do not know?');
      const more = await stage.ask('Teacher', 'multiple_choice', {
        prompt: 'How shall we go on?', choices: ['Heron’s formula', 'A short quiz', 'That is enough'],
        descriptions: ['The area from three sides alone', 'Three questions about what was said', null], default: 'A short quiz', single: true,
        min: null, max: null, deadline: new Date(Date.now() + 600_000).toISOString(), on_timeout: 'the conversation ends here',
      });
      await stage.stream('Teacher', 'Student', `Then: ${more}. With sides $a$, $b$, $c$ and half their sum $s$, the area is\n\n$$A = \\sqrt{s(s-a)(s-b)(s-c)}, \\qquad s = \\frac{a+b+c}{2}.$$`);
      return 'The student can find the area of a triangle from its base and height, and from its sides.';
    },
  },

  every_message: {
    title: 'One of everything', description: 'Every message and every question, one behind the other.',
    play: async (stage) => {
      stage.text('Planner', 'Researcher', 'Let us look at **everything** once.');
      stage.say(null, null, 'keep_alive', {});
      stage.say('Planner', 'Researcher', 'system_message', { message: { heading: 'Speaker chosen', body: 'The Researcher is next.' } });
      stage.say(null, null, 'system_message', { message: { tokens: 12, cache: false } });
      await stage.tool('Researcher', 'Executor', 'search_web', { query: 'triangle', limit: 3 }, [{ title: 'Triangle', words: 1200 }, { title: 'Trigonometry', words: 800 }]);
      stage.say('Executor', 'Researcher', 'function_call_execution', { function_name: 'orphan_tool', call_id: 'none', retval: 'a result that nobody asked for' });
      stage.say('Foreign', 'Planner', 'mood_report', { mood: 'curious', level: 3 });
      stage.say('Researcher', 'Planner', 'error', { short: 'The search could not be finished; the last page was left out.', long: 'HTTP 504 from the search service\n  at page 3 of 3' });
      await stage.ask('Planner', 'text_input', { prompt: 'What is your name?', suggestions: ['Ann', 'Ben'] });
      await stage.ask('Planner', 'text_input', { prompt: 'Tell me more about it.', multiline: true });
      await stage.ask('Planner', 'text_input', { prompt: 'How old is it?', value_type: 'integer' });
      await stage.ask('Planner', 'text_input', { prompt: 'What is the pass phrase?', password: true });
      await stage.ask('Planner', 'multiple_choice', { prompt: 'Which *grade*?', choices: ['A', 'B', 'C'], default: 'B', single: true });
      await stage.ask('Planner', 'multiple_choice', { prompt: 'Which fruits?', choices: ['apple', 'pear', 'plum'], default: ['pear'], single: false, min: 1, max: 2 });
      await stage.ask('Planner', 'form', { prompt: 'Book a room:', schema: tripSchema });
      await stage.stream('Planner', 'Researcher', 'Thank you, that was **all**.');
      stage.record('gossip', { about: 'a kind of record that this page does not know' });
      return { done: true, steps: 7 };
    },
  },

  weather_report: {
    description: 'Reports the weather of a city for some days.',
    params: {
      type: 'object', required: ['city'],
      properties: {
        city: { type: 'string', title: 'City', description: 'Where you want to know the weather.', minLength: 2 },
        days: { type: 'integer', title: 'Days', minimum: 1, maximum: 7, default: 3 },
        units: { enum: ['metric', 'imperial'], title: 'Units', default: 'metric' },
        details: { type: 'boolean', title: 'With wind and humidity' },
      },
    },
    play: async (stage) => {
      await stage.tool('Reporter', 'Weather service', 'get_forecast', stage.params, { sky: 'cloudy', high: 14 });
      stage.text('Reporter', 'User', `In ${stage.params.city} it will be cloudy for ${stage.params.days} days.`);
      return null;
    },
  },

  two_questions: {
    title: 'Two at once', description: 'Two branches ask at the same time.',
    play: async (stage) => {
      const [from, to] = await Promise.all([
        stage.ask('Flight desk', 'text_input', { prompt: 'Where do you fly from?' }),
        stage.ask('Hotel desk', 'multiple_choice', { prompt: 'Where do you want to sleep?', choices: ['by the sea', 'in the old town'], default: null, single: true }),
      ]);
      stage.text('Flight desk', 'Hotel desk', `From ${from}, sleeping ${to}.`);
      return null;
    },
  },

  held_stream: {
    title: 'A long answer', description: 'Writes for a while; good for pulling the plug.',
    play: async (stage) => {
      stage.text('Writer', 'Editor', 'I begin.');
      await stage.stream('Writer', 'Editor', `**Ünïcödé 😀** first: ${words(60)}`, { at: { 10: 'first', 30: 'second', 50: 'third' } });
      await stage.stream('Editor', 'Writer', `Good. ${words(20)}`, { at: { 5: 'fourth' } });
      return 'written';
    },
  },

  step_by_step: {
    title: 'Step by step', description: 'Waits at a gate before everything that happens.',
    play: async (stage) => {
      let gates = 0;
      const gate = () => `gate${gates += 1}`;
      const gatesBefore = (body) => Object.fromEntries(body.split(' ').map((_, position) => [position + 1, gate()]));
      const say = (body) => stage.stream('Writer', 'Editor', body, { at: gatesBefore(body) });
      await stage.gate(gate());
      stage.text('Editor', 'Writer', 'Please begin, and keep **this** short.');
      await stage.gate(gate());
      await say('Once there was a *run* that never lost a word 😀.\n\n- not one\n- not two');
      await stage.gate(gate());
      await stage.tool('Writer', 'Archive', 'look_up', { word: 'run' }, { found: true }, gate());
      await stage.gate(gate());
      stage.say('Archive', 'Writer', 'system_message', { message: { body: 'The archive is closed now.' } });
      await stage.gate(gate());
      await say('```text\nand so it went on\n```');
      await stage.gate(gate());
      return 'told';
    },
  },

  second_attempt: {
    title: 'A second attempt', description: 'The model breaks off and begins anew.',
    play: async (stage) => {
      const uuid = 'a'.repeat(32);
      stage.delta({ message: uuid, attempt: 1, offset: 0, text: 'a beginning that fails', sender: 'Writer', recipient: 'Editor' });
      await stage.gate('broken');
      await stage.stream('Writer', 'Editor', 'the text that counts at last', { attempt: 2, uuid, at: { 3: 'half' } });
      return null;
    },
  },

  cut_off: {
    description: 'Replies that are not all that a model had to say.', usage: { estimated_calls: 2 },
    play: async (stage) => {
      stage.say('Teacher', 'Student', 'text_message', { body: 'A triangle has never more than', cut: 'length' });
      stage.say('Teacher', 'Student', 'text_message', { body: "I can't help with that.", cut: 'refusal' });
      stage.say('Teacher', 'Student', 'text_message', { body: 'And', cut: 'of tomorrow' });
    },
  },
  failing: {
    title: 'Something breaks', description: 'Ends badly, and says why.',
    play: async (stage) => {
      stage.text('Accountant', 'Bank', 'I ask for the balance.');
      stage.say('Bank', 'Accountant', 'error', { short: 'The model “large” did not answer: its key was refused. Check the setting OPENAI_API_KEY of the worker.', long: '401 Unauthorized\n{"error": "invalid key"}' });
      throw new Error('the model "large" refused the key in step 2');
    },
  },

  breaks_down: {
    title: 'A step breaks', description: 'Fails as the engine says it: an error, and an end with the same words.',
    play: async (stage) => {
      const why = 'the step `pay` has no model (pay)';
      stage.say('Workflow', 'User', 'error', { short: 'Unhandled exception occurred when executing the workflow.', long: why });
      throw new Error(why);
    },
  },

  keepsake: {
    title: 'Something to keep', description: 'Long texts, and what people wrote, to be taken away.',
    play: async (stage) => {
      stage.text('Writer', 'User', '# A chapter\n\nIts text.\n\n```sh\n# no heading\n```');
      stage.say('Writer', 'User', 'text_message', { body: `${'not rendered '.repeat(3000)}to its very end` });
      await stage.ask('Writer', 'text_input', { prompt: 'Your notes?', multiline: true });
      await stage.ask('Writer', 'form', { prompt: 'Who are you?', schema: tripSchema });
      return null;
    },
  },

  many_messages: {
    title: 'A very long talk', description: 'Two thousand messages, and one of 200 kB.',
    play: async (stage) => {
      for (let count = 0; count < 2000; count += 1) {
        stage.text(count % 2 ? 'Ping' : 'Pong', count % 2 ? 'Pong' : 'Ping', count === 1000 ? words(25_000) : `Message **${count}**: ${words(12)}`);
      }
      await stage.ask('Pong', 'text_input', { prompt: 'Enough?' });
      return null;
    },
  },

  hostile: {
    title: 'Ill will', description: 'Markup and tricks in every place that should be plain text.',
    play: async (stage) => {
      const evil = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
      stage.text(evil, '__proto__', `${evil} ${'long'.repeat(3000)}`);
      stage.say('constructor', 'hasOwnProperty', 'text_message', { body: `\u001b[31mred\u001b[0m \u202Eright to left\u202C ${evil}` });
      stage.say('Mallory', 'User', 'text_message', { body: 'y'.repeat(1_000_000) });
      await stage.tool('Mallory\u202Eyrollam', 'Bank\u200B', 'pay\u202Eback', { to: 'Ann\u202E', note: '\u001b[31m' }, 'x'.repeat(300_000));
      stage.say('Mallory', 'User', 'text_message', { body: 'links' }, '<p><a href="javascript:window.hacked=1">one</a> <a href="data:text/html,<script>window.hacked=1</script>">two</a> <svg onload="window.hacked=1"></svg><iframe src="https://elsewhere.example/"></iframe><style>body{display:none}</style><p style="position:fixed;inset:0">over everything</p><form action="https://elsewhere.example/"><input name="x"></form></p>');
      stage.say('Mallory', 'User', 'text_message', { body: 'pictures' }, '<p><img src="https://elsewhere.example/spy.png" alt="a cat"> <a href="https://elsewhere.example/">link</a></p>');
      await stage.tool(evil, evil, evil, { [evil]: evil }, evil);
      stage.say(evil, null, 'error', { short: evil, long: evil });
      stage.say(null, null, evil, { [evil]: evil });
      await stage.ask(evil, 'multiple_choice', { prompt: evil, choices: [evil, 'x'], descriptions: [evil, null], default: null, single: true });
      return evil;
    },
  },

  refund: {
    title: 'Refund desk', description: 'Looks into a complaint, and asks before money moves.',
    play: async (stage) => {
      stage.text('Clerk', 'Reviewer', 'Ann asks for her money back: order **4711**, a broken lamp, 49.90 €.');
      const policy = [{ id: 'policy', title: 'Is this covered by our terms?' }];
      const inside = stage.within(policy);
      inside.text('Reviewer', 'Lawyer', 'The lamp arrived broken after nine days. Do we pay?');
      await inside.tool('Lawyer', 'Archive', 'find_terms', { topic: 'broken on arrival' }, { section: '7.2', days: 14 });
      await inside.stream('Lawyer', 'Reviewer', 'Yes. Section 7.2 gives **14 days** for goods that arrive broken.', { at: { 5: 'inside' } });
      const deeper = stage.within([...policy, { id: 'precedent', title: 'Have we done so before?' }]);
      deeper.text('Lawyer', 'Archivist', 'Have we paid for broken lamps before?');
      deeper.text('Archivist', 'Lawyer', 'Eleven times this year, each within a day.');
      inside.text('Lawyer', 'Reviewer', 'We have done so eleven times this year. Pay.');
      stage.text('Reviewer', 'Clerk', 'Covered by our terms. Please pay Ann back.');
      const decision = await stage.approve('Clerk', 'Bank', 'pay_back', { customer: 'Ann', order: 4711, amount: 49.9 }, {
        prompt: 'The Clerk wants to **pay money back**. May it?',
        schema: {
          type: 'object', required: ['customer', 'order', 'amount'],
          properties: {
            customer: { type: 'string', title: 'Customer' }, order: { type: 'integer', title: 'Order' },
            amount: { type: 'number', title: 'Amount in euros', maximum: 100 },
          },
        },
      }, (given) => ({ paid: given.amount, to: given.customer }));
      stage.text('Clerk', 'User', decision.decision === 'deny' ? 'Nothing was paid.' : 'The money is on its way.');
      const again = await stage.approve('Clerk', 'Bank', 'write_letter', { to: 'Ann', lines: ['Dear Ann', 'we are sorry'] }, { prompt: 'May I also write to her?', schema: null }, () => 'Error: the printer is out of paper');
      return again.decision;
    },
  },

  one_id: {
    title: 'One id for all', description: 'A provider that names calls by their function.',
    play: async (stage) => {
      const towns = ['Rome', 'Oslo', 'Bern'];
      const call = { function_name: 'weather', call_id: 'weather' };
      for (const town of towns) stage.say('Reporter', 'Clerk', 'suggested_function_call', { ...call, arguments: { town } });
      for (const town of towns) {
        const { decision } = await stage.ask('Clerk', 'approval', { ...call, prompt: `May I ask for ${town}?`, arguments: { town }, schema: null, deadline: null, on_timeout: null });
        stage.say('Clerk', 'User', 'function_call_execution', { ...call, retval: decision === 'deny' ? `Error: not ${town}` : `sun in ${town}` });
      }
      await stage.ask('Clerk', 'text_input', { prompt: 'Enough?' });
      return null;
    },
  },

  desk: {
    title: 'A desk', description: 'One question of each kind, for whoever is quicker.',
    play: async (stage) => {
      await stage.ask('Clerk', 'text_input', { prompt: 'What is it about?' });
      await stage.ask('Clerk', 'multiple_choice', { prompt: 'Which room?', choices: ['small', 'large'], default: null, single: true });
      await stage.ask('Clerk', 'form', { prompt: 'Where to?', schema: { type: 'object', required: ['street'], properties: { street: { type: 'string', title: 'Street' }, code: { type: 'string', title: 'Code', format: 'password' } } } });
      const schema = { type: 'object', required: ['amount'], properties: { customer: { type: 'string', title: 'Customer' }, amount: { type: 'number', title: 'Amount' } } };
      await stage.approve('Clerk', 'Bank', 'pay_back', { customer: 'Ann', amount: 49.9 }, { prompt: 'May I pay?', schema, digest: 'one' }, () => 'paid');
      await stage.approve('Clerk', 'Bank', 'pay_back', { customer: 'Ben', amount: 3 }, { prompt: 'And again?', schema, digest: 'two' }, () => 'paid');
      await stage.ask('Clerk', 'text_input', { prompt: 'The pass phrase?', password: true });
      await stage.ask('Clerk', 'text_input', { prompt: 'Anything else?' });
      return null;
    },
  },

  delivery: {
    description: 'Brings a lamp.', params: deliverySchema,
    play: async (stage) => {
      stage.text('Driver', 'User', 'It is on its way.');
      await stage.ask('Driver', 'form', { prompt: 'Was all well?', schema: { ...deliverySchema, required: ['phone'] } });
      return null;
    },
  },

  letter: {
    title: 'A letter', description: 'Suggestions that one goes on with.',
    play: (stage) => stage.ask('Clerk', 'text_input', { prompt: 'What shall I write?', suggestions: ['Dear Ann, ', 'Dear Ben, '], suggestions_fill: true }),
  },

  for_an_agent: {
    title: 'For an agent', description: 'A person speaks for an agent, as in AG2.',
    play: async (stage) => {
      const reply = {
        prompt: "Replying as critic. Provide feedback to poet. Press enter to skip and use auto-reply, or type 'exit' to end the conversation: ",
        in_short: { prompt: 'Your reply to poet', answers: [{ label: 'Skip', answer: '' }, { label: 'End the conversation', answer: 'exit' }] },
      };
      stage.say('critic', 'poet', 'text_message', { body: await stage.ask('critic', 'text_input', reply) });
      await stage.ask('critic', 'text_input', reply);
      return stage.ask('chat_manager', 'text_input', {
        prompt: 'Enter the number of the next speaker (enter nothing or `q` to use auto selection): ', suggestions: ['1', '2'],
        in_short: { prompt: 'Who speaks next?', answers: [{ label: 'poet', answer: '1' }, { label: 'critic', answer: '2' }, { label: 'Let a model choose', answer: '' }] },
      });
    },
  },

  declinable: {
    title: 'A question of a tool', description: 'A form that a person may decline.',
    play: (stage) => stage.ask('docs', 'form', {
      prompt: 'docs asks: Which room?', can_decline: true,
      schema: { type: 'object', required: ['room'], properties: { room: { type: 'string', title: 'Room' } } },
    }),
  },

  tall_form: {
    title: 'A tall form', description: 'A form that is taller than the window.',
    play: (stage) => stage.ask('Clerk', 'form', {
      prompt: 'Tell us all about it:',
      schema: { type: 'object', properties: Object.fromEntries(Array.from({ length: 20 }, (_, number) => [`field${number}`, { type: 'string', title: `Field ${number}` }])) },
    }),
  },

  two_forms: {
    title: 'Two at once, one of them tall', description: 'A short question, and a form that is taller than the window.',
    play: (stage) => Promise.all([
      stage.ask('Clerk', 'text_input', { prompt: 'A word?' }),
      stage.ask('Clerk', 'form', {
        prompt: 'And all of this:',
        schema: { type: 'object', properties: Object.fromEntries(Array.from({ length: 20 }, (_, number) => [`field${number}`, { type: 'string', title: `Field ${number}` }])) },
      }),
    ]),
  },

  night_shift: { title: 'Night shift', description: 'Nobody works on this one at the moment.', available: false, play: async () => null },
};
