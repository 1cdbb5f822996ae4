"""Single expressions of Jinja as chat templates use them, and formats of dates: places where two implementations may
differ. In most of them `s`, `d` and `l` are the text, the mapping and the list below."""

VARIABLES = {
    "s": " Hello, wide  World!\n",
    "d": {"a": 1, "b": [1.5, None, True], "items": "own", "c": {"é": "ü\"'"}},
    "l": ["x", "Y", "z", 10, 2.0],
    "odd": "\u001c\u0085\u200b mixed\u00a0\u2028",
    "people": [{"name": "Bo", "age": 3}, {"name": "al", "age": 2}, {"name": "Cy", "age": 3}],
}

EXPRESSIONS = [
    # Values as text.
    "d", "l", "[true, none, 1.0, 'it''s']", "['it\\'s']", "['\"', '\\'', '\\n', '\\\\', 'é', '\\u200b']", "(1, 'a')", "{}", "[]",
    "1e20", "1e16", "1e15", "0.1 + 0.2", "1.0", "-0.0", "1e-7", "1.5e300", "10 ** 20", "7 // 2", "-7 // 2", "-7 % 3", "7 / 2",
    "4 / 2", "2 ** 3", "2 ** -1", "1 == 1.0", "true and none", "0 or 'x'", "not ''", "1 < 2 < 3", "none ~ true ~ 1",
    "'a' 'b'", "'x' * 3", "[1] * 2", "[1] + [2]", "{'a': {'b': none}}", "range(3)", "range(5, 0, -2) | list", "undefined_name",
    "undefined_name ~ 'x'", "s[0]", "s[-1]", "s[1:4]", "s[::-1]", "l[-2:]", "l[10:]", "l[::2]", "'日本語'[1]", "'日本語'[:2]", "l[99]",
    # JSON.
    "d | tojson", "d | tojson(indent=2)", "d | tojson(ensure_ascii=True)", "d | tojson(separators=(',', ':'))",
    "d | tojson(sort_keys=true)", "d | tojson(indent=4, separators=(';', '='))", "d | tojson(indent=0)", "l | tojson",
    "'<&>\\u2028\\x7f' | tojson", "'😀' | tojson(ensure_ascii=true)", "1e20 | tojson", "1.0 | tojson", "[1e-7, 1e16, 0.1] | tojson",
    "none | tojson", "[] | tojson(indent=2)", "{} | tojson(indent=2)", "{1: 2, none: 3, 1.5: 5} | tojson", "{true: 1, false: 2} | tojson", "[1e22, -1.5e-10, 123456789.125, 0.0001, 1e-5] | tojson", "(1, 2) | tojson",
    "[[], [1, [2]]] | tojson(indent=1)", "odd | tojson", "undefined_name | tojson", "d.items() | list | tojson",
    "d | tojson(true)", "d | tojson(true, 2)", "l | tojson(indent='--')", "10 ** 20 | tojson", "d | tojson(indent=none)",
    # Methods of texts.
    "s.strip()", "s.lstrip()", "s.rstrip()", "s.strip(' H\\n')", "s.lstrip('\\n')", "s.rstrip('!\\n')", "odd.strip() | tojson",
    "odd.lstrip() | tojson", "odd.rstrip() | tojson", "odd | trim | tojson", "odd.split() | tojson", "s.strip(none)", "s.split()", "s.split(' ')",
    "s.split(',')", "s.split('o', 1)", "s.split(none, 1)", "s.rsplit('o', 1)", "s.rsplit()", "s.rsplit(' ', 2)", "s.split(maxsplit=1)",
    "s.split(sep='o')", "'a,b'.split(',')[-1]", "''.split()", "''.split(',')", "' '.split()", "s.partition(', ')", "s.partition('#')",
    "s.rpartition('o')", "s.splitlines()", "'a\\nb\\r\\nc\\rd\\x0be\\u2028f'.splitlines()", "'a\\n\\nb\\n'.splitlines(true)", "s.upper()",
    "s.lower()", "s.title()", "\"they're bill's\".title()", "s.capitalize()", "'HELLO wORLD'.capitalize()", "'ÉCOLE'.lower()",
    "'straße'.upper()", "'Straße'.casefold()", "'aBc'.swapcase()", "s.replace('o', '0')", "s.replace('o', '0', 1)", "s.replace('', '-')",
    "'aaa'.count('a')", "'aaa'.count('aa')", "s.find('wide')", "s.find('#')", "'日本語'.find('語')", "s.rfind('o')", "s.index('w')", "s.rindex('o')",
    "s.index('#')", "s.find('o', 6)", "s.startswith(' Hel')", "s.startswith(('x', ' H'))", "s.endswith('\\n')", "s.endswith(['a'])",
    "s.startswith('ell', 2)", "'abc'.removeprefix('ab')", "'abc'.removesuffix('bc')", "'abc'.removeprefix('x')", "'7'.zfill(3)",
    "'a'.ljust(3) ~ '|'", "'a'.rjust(3, '.')", "'a'.center(4, '*')", "'-'.join(['a', 'b'])", "'-'.join('abc')", "'-'.join([1])", "'{} {}'.format(1, 'b')",
    "'{0}{x}'.format('a', x='b')", "'12'.isdigit()", "'½'.isdigit()", "'²'.isdigit()", "'½'.isnumeric()", "'1.5'.isdigit()", "''.isdigit()",
    "'٣'.isdigit()", "'٣'.isdecimal()", "'a1'.isalnum()", "'ab'.isalpha()", "' \\n'.isspace()", "'ab'.islower()", "'A1'.isupper()", "'Ab C'.istitle()",
    "'a_1'.isidentifier()", "'é'.isascii()", "'a\\tb'.expandtabs(4)", "s.nonsense()", "s.encode()",
    # Methods of mappings and lists.
    "d.items() | list", "d.keys() | list", "d.values() | list", "d.get('a')", "d.get('zz')", "d.get('zz', 'default')", "d.get('b')[0]", "d['items']",
    "d.copy()", "d | length", "'a' in d", "'zz' not in d", "d.zz is defined", "d.c.é", "l.index('Y')", "l.count('x')", "l.copy()", "l.index('#')",
    "l.append(1)", "d.update({'a': 2})", "d.pop('a')", "dict(a=1, b=2)", "dict(d, z=1)['z']", "(1, 2).count(1)",
    # Tests.
    "d is mapping", "l is mapping", "s is string", "l is sequence", "s is sequence", "s is iterable", "d is iterable", "1 is iterable", "1 is number",
    "1.0 is integer", "1.0 is float", "true is number", "true is boolean", "true is integer", "none is none", "undefined_name is none", "d is callable",
    "1 is odd", "4 is divisibleby 2", "'a' is in 'abc'", "'a' in ['a']", "1 is eq 1", "'x' is sameas 'x'", "'ab' is lower", "range is callable", "d.b is sequence",
    "d.items is callable", "d.items is string", "false is false", "0 is false", "1 is true", "s is not defined",
    # Filters.
    "s | trim", "s | trim('H ')", "s | upper", "s | title", "s | capitalize", "s | length", "s | wordcount", "s | list | length", "l | first", "l | last", "l | join('-')",
    "people | join(', ', attribute='name')", "people | map(attribute='name') | list", "people | map(attribute='zz', default='?') | list", "l | map('string') | list",
    "people | selectattr('age', 'equalto', 3) | list | length", "people | selectattr('zz', 'defined') | list", "people | rejectattr('age', 'gt', 2) | list",
    "l | select('string') | list", "l | reject('in', ['x']) | list", "people | groupby('age') | list | length", "people | sort(attribute='name') | map(attribute='name') | join",
    "['b', 'A', 'c'] | sort", "['b', 'A', 'c'] | sort(case_sensitive=true)", "[3, 1, 2] | sort(reverse=true)", "['a', 'A', 'b'] | unique | list", "[1, 2, 3] | reverse | list",
    "'abc' | reverse", "[1, 2, 3] | sum", "people | sum(attribute='age')", "[3, 1] | min", "[3, 1] | max", "[1, 2, 3, 4] | batch(3) | list", "[1, 2, 3] | slice(2) | list",
    "d | dictsort", "d | items | list", "undefined_name | items | list", "undefined_name | default('x')", "'' | default('x')", "'' | default('x', true)", "none | default('x')",
    "none | d('x', true)", "'5' | int", "'x' | int", "'x' | int(7)", "'5.7' | int", "5.9 | int", "'1.5' | float", "1 | float", "'a' | float", "3.14159 | round(2)",
    "2.5 | round", "3.5 | round", "2.1 | round(0, 'ceil')", "-3 | abs", "5 | string", "1.0 | string", "none | string", "true | string", "d | string", "'a\\nb' | indent(2)",
    "'a\\n\\nb' | indent(2, true)", "'a\\n\\nb' | indent(2, blank=true)", "'a\\nb' | indent('> ')", "'<a>' | escape", "'<a>' | safe", "'<b>x</b> y' | striptags",
    "'a b&c' | urlencode", "'aXbX' | replace('X', '-')", "'aXbX' | replace('X', '-', 1)", "'%s=%d' | format('a', 3)", "'%5.2f|%-3s|%x' | format(3.14159, 'a', 255)",
    "'a long text here' | truncate(9)", "'a' | center(5)", "l | list", "'abc' | list", "d | list", "d | attr('a')", "[1, [2]] | pprint", "{'a': none} | items | list",
    # Errors and order.
    "none + 'x'", "undefined_name + 'x'", "'x' + 1", "1 + 1.5", "d.zz.y", "undefined_name.x", "none.x", "none['x']", "d['zz']", "l.zz", "1 / 0", "unknown_function()",
    "namespace(a=1).a", "namespace(a=1).zz is defined", "joiner(', ')()", "cycler('a', 'b').next()", "'a' if false", "('a' if false) is defined", "l[0:2] + ['q']",
    "'b' in 'abc' and 'z' not in 'abc'", "[1, 2] == [1, 2]", "{'a': 1} == {'a': 1.0}", "'a' < 'b'", "'x' ~ 1.0 ~ none", "(d.b)[1] is none", "'%s' % 'a'", "1_000", "0x10",
]

# Templates with statements.
STATEMENTS = [
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in l if x is string %}{{ loop.index0 }}{{ x }}{{ loop.nextitem }}{% else %}none{% endfor %}",
    "{% for x in undefined_name %}x{% else %}nothing{% endfor %}",
    "{% for x in none %}x{% endfor %}",
    "{% for c in 'héy' %}{{ c }}.{% endfor %}",
    "{% for x in l recursive %}{{ x if x is not iterable else loop(x) }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(x=1, y=[]) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% set ns.y = ns.y + [i] %}{% endfor %}{{ ns.x }}{{ ns.y }}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
    "{% set t %}  x {{ 1 }}  {% endset %}[{{ t }}]{{ t is string }}",
    "{% macro m(a, b='B', c=none) %}{{ a }}{{ b }}{{ c }}{{ varargs is defined }}{% endmacro %}{{ m(1) }}|{{ m(1, c=3) }}|{{ m() }}",
    "{% macro m() %}[{{ caller(2) }}]{% endmacro %}{% call(n) m() %}{{ n }}{% endcall %}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m('a') ~ m('b') | upper }}{{ m('x') == 'x' }}{{ m(' y ') | trim }}",
    "{% set x = 'outer' %}{% macro m() %}{{ x }}{{ bos_token }}{% endmacro %}{{ m() }}",
    "{% filter upper %}a{{ 'b' }}{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.cycle('a', 'b') }}{{ loop.revindex }}{{ loop.first }}{% endfor %}",
    "{% for a in [1, 2] %}{% for b in [1] %}{{ loop.index }}{{ loop.depth }}{% endfor %}{% endfor %}",
    "  {% if true %}\n  a\n  {% endif %}\n  b {%- if true %} c {% endif -%}  \n d\n",
    "a\n  {# comment #}\n  {#- tight -#}\n b\n\n",
    "{%+ if true %} x {%+ endif %}\n y\n",
    "{% raw %}{{ not }} {% that %}{% endraw %}{{ 1 }}",
    "{{ '{{' }}{{ '%}' }}\n\n",
    "x\r\n{% if true %}\r\ny\r\n{% endif %}\r\nz\r\n",
    "{{- '\\n' -}}   x   {{- '\\t' }}",
    "{% if not d.zz %}no{% elif true %}yes{% endif %}{{ 'T' if d else 'F' }}",
    "{% generation %}\nkept {% endgeneration %}\nafter",
    "{% set ns = namespace(d) %}{{ ns.a }}",
    "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token is defined }}{{ add_generation_prompt }}{{ tools }}{{ documents }}",
    "{{ raise_exception('Stop: ' ~ 1) }}",
    "{% macro m() %}{{ raise_exception('inside') }}{% endmacro %}{{ m() }}",
    "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}",
    "{% set content %}{% for m in messages %}{{ m.role }}{% endfor %}{% endset %}{{ content }}{{ messages[0] }}{{ messages | length }}",
    "{% block body %}in {{ s | trim }}{% endblock %}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{% do l.append(1) %}",
    "{% include 'x' %}",
]

FORMATS = [
    "%Y-%m-%d %H:%M:%S", "%d %b %Y", "%B %d, %Y", "%A, %a", "%-d %-m %-H %-I %-M %-S %-j %-y", "%e %y %j %p %I", "%F %T %D %R", "%w %u", "%C %h",
    "%c", "%x %X", "%f", "%Z|%z|", "%%", "%n%t", "no directive", "", "%",
    "%-B %-b %-p %-A", "%-D %-F %-T %-R %-c", "%-n%-t%-%|%-Q",
]

# Filters, tests and methods with undefined values and with values of another type.
VALUES = [
    "undefined_name", "none", "true", "5", "-2.5", "''", "'aB c'", "[]", "[2, 1, 2]", "(1,)", "{}", "{'b': 1, 'A': none}", "[none, undefined_name]",
]
FILTERS = [
    "abs", "attr('a')", "batch(2) | list", "capitalize", "center(7)", "count", "default('x')", "default('x', true)", "dictsort", "escape",
    "filesizeformat", "first", "float", "float(1.5)", "forceescape", "format", "format(1)", "groupby('a')", "indent", "indent(2, true)", "int", "int(7)",
    "items | list", "join", "join('-')", "last", "length", "list", "lower", "map('upper') | list", "map(attribute='a') | list", "max", "min", "pprint",
    "reject('none') | list", "rejectattr('a') | list", "replace('a', 'b')", "replace(5, 6)", "replace('a', none)", "reverse | list", "round",
    "safe", "select | list", "select('defined') | list", "selectattr('a', 'defined') | list", "slice(2) | list", "sort", "string", "striptags", "sum",
    "title", "tojson", "trim", "trim('a')", "truncate(3)", "unique | list", "upper", "urlencode", "wordcount", "wordwrap(3)",
]
TESTS = [
    "boolean", "callable", "defined", "divisibleby(2)", "eq(5)", "escaped", "even", "false", "filter", "float", "ge(1)", "gt(1)", "in('aB c')", "in([5])",
    "integer", "iterable", "le(1)", "lower", "lt(1)", "mapping", "ne(5)", "none", "number", "odd", "sameas(none)", "sequence", "string", "test", "true",
    "undefined", "upper",
]
OPERATIONS = [
    "{} ~ 'x'", "{} + 'x'", "{} + 1", "{} * 2", "-{}", "{} - 1", "{} / 2", "{} // 2", "{} % 2", "{} ** 2", "{} < 1", "{} == none", "{} != 1", "{} in [none, 5]",
    "1 in {}", "'a' in {}", "not {}", "{} and 1", "{} or 1", "'y' if {} else 'n'", "{}.a", "{}['a']", "{}[0]", "{}[:1]", "{}.get('a')", "{}.items()",
    "{}.upper()", "{}.split()", "[{}]", "'%s' % {}", "'%d' % {}", "[{}] | join(',')", "{{'k': {}}}", "dict(a={})", "range({}) | list", "'-'.join({})",
    "'x'.startswith({})", "'x'.replace('x', {})", "'a{{}}b'.format({})",
]
MORE_STATEMENTS = ["{{% for x in {} %}}[{{{{ x }}}}]{{% else %}}-{{% endfor %}}", "{{% set ns = namespace(x={}) %}}{{{{ ns.x }}}}"]


def of_values():
    for value in VALUES:
        yield from (f"{{{{ {value} | {name} }}}}" for name in FILTERS)
        yield from (f"{{{{ {value} is {name} }}}}" for name in TESTS)
        yield from ("{{ " + operation.format(value) + " }}" for operation in OPERATIONS)
        yield from (statement.format(value) for statement in MORE_STATEMENTS)


# Numbers in texts, and formats.
MORE_EXPRESSIONS = [
    "1e20 ~ ' ' ~ 1e-7 ~ ' ' ~ [1e20, 1e-5]", "{'k': 1e-7}", "'%s is %d' % ('a', 3)", "'%(a)s-%(b)05.1f' % {'a': 1, 'b': 2.25}", "'%5d|%-5d|%05d|%+d' % (1, 2, 3, 4)",
    "'%x %X %#x %o %e %g %G' % (255, 255, 255, 8, 12345.678, 0.00001234, 1e20)", "'%%'", "'100%' ~ 1", "'%s' % [1]", "'%s %s' % 'a'", "'%s' % ('a', 'b')", "'%r %a' % ('é', 'x')", "'%c' % 65",
    "'%.2s|%5s|%-5s|' % ('abc', 'a', 'b')", "'%*d' % (5, 1)", "'{:>5}|{:<5}|{:^5}|{:*^5}'.format('a', 'b', 'c', 'd')", "'{:05d} {:+.2f} {:,} {:x} {:%}'.format(42, 3.14159, 1234567, 255, 0.5)",
    "'{0[a]} {1!r} {{}}'.format({'a': 1}, 'x')", "'{a} {b}'.format(a=1, b=none)", "'{:10.3f}|{:e}|{:g}'.format(3.14159, 12345.678, 0.0001)", "'{}'.format(1e16)", "'{:>{}}'.format(1, 5)",
    "'7'.zfill(3) ~ '-7'.zfill(5)", "'x'.ljust(3) ~ '|' ~ 'x'.rjust(3, '.') ~ 'x'.center(4)", "'aB'.swapcase()", "'a\\tb\\n\\tc'.expandtabs()", "'b'.center(4, '*') ~ 'bb'.center(5, '*')", "'abc' | center(6) ~ '|'",
    "'hello world foo' | wordwrap(7)", "'a-b c_d e' | wordcount", "'<!-- x --><p>a  b</p>&amp; c' | striptags", "'a/b?c=é&d' | urlencode", "{'a b': 'c&d', 'e': 1} | urlencode", "[('a', 1)] | urlencode",
    "'one two three four' | truncate(10)", "'one two three four' | truncate(10, true)", "'one two three four' | truncate(10, true, '…')", "'one two three' | truncate(10, false, '...', 0)", "1000 | filesizeformat", "123456789 | filesizeformat", "2048 | filesizeformat(true)",
    "[1, 2, 3, 4, 5] | slice(3, 'x') | list", "[1, 2, 3] | batch(2, 'x') | list", "'0x1F' | int(0, 16)", "'ff' | int(base=16)", "'1e3' | int", "'  42 ' | int", "'nan' | float", "1234.5 | round(-2)", "7 | round", "7 | round(1)", "2.675 | round(2)", "2.5 | round(0, 'floor')",
    "['b', 'a', 'C'] | sort(reverse=true)", "people | sort(attribute='age,name') | map(attribute='name') | join(',')", "people | groupby('age') | map(attribute='grouper') | list", "people | map(attribute='name') | map('upper') | join", "people | map('items') | list | length", "[3, 1, 2] | max", "people | max(attribute='age')", "['a', 'B'] | min", "people | unique(attribute='age') | list | length", "[[1, 2], [3]] | sum(start=[])", "l | select('number') | list", "'abc' | select('in', 'ab') | list", "[1, 2, 3, 4] | select('divisibleby', 2) | list", "[0, 1] | reject | list", "d | dictsort(by='value')", "{'b': 1, 'a': 2} | dictsort(reverse=true)",
    "messages is callable", "joiner is callable", "loop is defined", "[nothing]", "(nothing,)", "{'a': nothing}", "5 is divisibleby 2 or true", "'a' is string and 1 is not string", "not 'a' is string", "1 is not none", "'upper' is filter", "'nope' is filter", "'odd' is test", "3 is lt 4", "'x' is eq 'x'", "[1] is sameas [1]", "1 is sameas true", "'ABC' is upper",
    "'a' if nothing is defined and nothing else 'b'", "(1, 2)[0]", "'abc'[-2:]", "'abc'[5:]", "[1, 2, 3][::-1]", "[1, 2, 3][-1:0:-1]", "'日本'[::-1]", "range(10)[2:5] | list", "range(5)[-1]", "3 in range(5)", "(1, 2) + (3,)", "(1,) * 2", "'a' * 0", "2 * 'ab'", "1 == true", "'1' == 1", "none == false", "[] == ()", "1 < 2.5", "'a' < 1", "[1, 2] < [1, 3]", "1 < 2 > 0", "5 // -2", "-5 % 3", "5 % -3", "5.5 % 2", "-5.5 // 2", "2 ** 0.5", "1 / 3", "10 / 5", "1e3", "1.5e-3", "-1.5", "+5", "--5", "1 - -1", "2 + 3 * 4 ** 2", "'a' ~ 1 + 2", "1 + 2 ~ 'a'", "-3 | abs", "(-3) | abs", "2 ** 3 ** 2", "'a,b' | replace(',', ';') | upper", "'x' 'y' ~ 'z'", "'\\x41\\u00e9\\101'", "'a\\qb'", "\"it's\"", "true is true", "True and False", "None", "d.get('b', [])[1]", "d.items() | map('first') | list", "d.values() | list | length", "d.keys() | join(',')", "dict([('a', 1)], b=2)", "dict(d).a", "namespace({'a': 1}, b=2).b",
]
MORE_STATEMENTS_ALONE = [
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}{{ m(b=1, a=0) }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m(x) %}{{ y }}{% endmacro %}{% set y = 1 %}{{ m() }}{% set y = 2 %}{{ m() }}", "{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro outer() %}<{{ caller() }}>{% endmacro %}{% for i in [1, 2] %}{% call outer() %}{{ i }}{% endcall %}{% endfor %}", "{% set j = joiner() %}{% for i in [1, 2, 3] %}{{ j() }}{{ i }}{% endfor %}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{{ loop.depth }}{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for x in [1, 2, 3] %}{{ loop.previtem }}-{{ loop.nextitem }};{% endfor %}",
    "{% for x in [] %}x{% else %}{{ loop is defined }}{% endfor %}", "{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}", "{% set x | upper %}a{% endset %}{{ x }}", "{% if 1 if true else 2 %}y{% endif %}", "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b is defined }}",
    "{% set x = 1, 2 %}{{ x }}", "{{ 1, 2 }}", "{% for i in 1, 2 %}{{ i }}{% endfor %}", "{% for k in {'a': 1} | items %}{{ k[0] }}{{ k[1] }}{% endfor %}", "{% if tools is iterable and tools | length > 0 %}T{% else %}-{% endif %}", "{%- set x = 'a' -%}\n {{ x }}\n", "a\n\n{% if true %}\n\nb\n{% endif %}", "{# a #}\nb", "{{ 'a' }}\nb", "  {{ 1 }}  ", "{% raw -%}\n a {%- endraw %}", "\n{%- if true %}\n  x\n{%- endif %}\n", "{% for x in range(3) -%}\n {{ x }}\n{%- endfor %}", "{% for x in [1, 2] if x > 1 %}{{ loop.length }}{% endfor %}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% filter replace('a', 'b') | upper %}aa{% endfilter %}", "{% break %}", "{% for x in [1, 2] %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% else %}n{% endfor %}", "{% macro m() %}{% set y = 1 %}{% endmacro %}{{ m() }}{{ y is defined }}", "{% set messages = messages[1:] %}{{ messages | length }}", "{{ range(100001) | list | length }}", "{{ {'a': 1}.b.c }}", "{{ [1, 2].append(3) }}", "{{ nothing() }}", "{{ d.zz() }}", "{{ 'a' | nope }}", "{{ 'a' is nope }}", "{% if false %}{{ 'a' | nope }}{% endif %}x", "{{ {[1]: 2} }}", "{{ 'a'.b }}", "{{ 5.real }}", "{{ (1).x }}",
]
