/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arguments.  Two passes of getopt_long(): the first finds the verb behind the
 * global options, the second takes what follows it, where the global options
 * are known as well.  The verb's own come from its table of parameters; the
 * i-th of them has the code VERB_OPTION + i.
 */
#include "cli.h"
#include "print.h"

#include <assert.h>
#include <getopt.h>
#include <string.h>

enum {
	OPERAND = 1, /* what getopt says for an argument that is no option */
	GLOBAL_POOL = 256,
	GLOBAL_CONFIG,
	GLOBAL_JSON,
	GLOBAL_VERSION,
	VERB_OPTION,
};

static const struct option globals[] = {
	{"pool", required_argument, NULL, GLOBAL_POOL},
	{"config", required_argument, NULL, GLOBAL_CONFIG},
	{"json", no_argument, NULL, GLOBAL_JSON},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, GLOBAL_VERSION},
};

#define NR_GLOBALS	(sizeof(globals) / sizeof(globals[0]))
#define MAX_PARAMS	16
#define OPTION_NAME_MAX 32

/* Both passes: '+' and '-' say what becomes of operands, ':' that we complain. */
#define UP_TO_VERB "+:h"
#define IN_PLACE   "-:h"

/* Take @code where it is a global option. */
static bool take_global(struct cli *c, int code)
{
	switch (code) {
	case GLOBAL_POOL:
		c->pool_option = optarg;
		return true;
	case GLOBAL_CONFIG:
		c->config = optarg;
		return true;
	case GLOBAL_JSON:
		c->json = true;
		return true;
	case GLOBAL_VERSION:
		c->version = true;
		return true;
	case 'h':
		c->help = true;
		return true;
	}
	return false;
}

/* What getopt did not like; @verb may be NULL. */
static int bad_option(const struct cli *c, int code)
{
	const char *verb = c->verb ? c->verb->name : "";
	const char *space = c->verb ? " " : "";
	const char *arg = c->argv[optind - 1];

	if (code == ':')
		return cli_usage(c, "%s: wants a value; see thinbd %s%s--help", arg, verb,
				 space);
	if (optopt >= GLOBAL_POOL)
		return cli_usage(c, "%s: takes no value; see thinbd %s%s--help", arg,
				 verb, space);
	/* -xy leaves optind where it is until it is through. */
	if (optopt)
		return cli_usage(c, "-%c: no such option; see thinbd %s%s--help", optopt,
				 verb, space);
	return cli_usage(c, "%s: no such option; see thinbd %s%s--help", arg, verb,
			 space);
}

/* --- the verb's options ------------------------------------------------------ */

/* An option is called as its parameter, with '-' for '_'. */
static void option_name(char *buf, const char *param)
{
	size_t n = strlen(param);

	assert(n < OPTION_NAME_MAX);
	for (size_t i = 0; i <= n; i++)
		buf[i] = param[i] == '_' ? '-' : param[i];
}

struct verb_options {
	struct option all[NR_GLOBALS + MAX_PARAMS + 1];
	char names[MAX_PARAMS][OPTION_NAME_MAX];
};

static void fill_options(struct verb_options *o, const struct thinbd_verb *v)
{
	size_t n = NR_GLOBALS;

	assert(v->nr_params <= MAX_PARAMS);
	memset(o, 0, sizeof(*o));
	memcpy(o->all, globals, sizeof(globals));
	for (size_t i = 0; i < v->nr_params; i++) {
		const struct thinbd_param *p = &v->params[i];

		if (p->flags & THINBD_POSITIONAL)
			continue;
		option_name(o->names[i], p->name);
		o->all[n].name = o->names[i];
		o->all[n].has_arg =
			p->kind == THINBD_KIND_FLAG ? no_argument : required_argument;
		o->all[n++].val = VERB_OPTION + (int)i;
	}
}

/* --- values ------------------------------------------------------------------ */

/* Put @text, the value of @p (NULL for a flag), where it goes. */
static int take_value(struct cli *c, const struct thinbd_param *p, const char *text)
{
	struct json_object *into = p->flags & THINBD_FRONT_ONLY ? c->front : c->args;
	struct json_object *value, *array = NULL;

	value = p->kind == THINBD_KIND_FLAG ? must_have(json_object_new_boolean(true))
					    : cli_value(c, p, text);
	if (!value)
		return CLI_USAGE;
	if (p->group == 0) {
		json_object_object_add(into, p->name, value);
		return CLI_DONE;
	}
	if (!json_object_object_get_ex(into, p->name, &array)) {
		array = must_have(json_object_new_array());
		json_object_object_add(into, p->name, array);
	}
	json_object_array_add(array, value);
	return CLI_DONE;
}

/* The parameter that the next operand is for; NULL: there are too many. */
static const struct thinbd_param *next_positional(const struct cli *c)
{
	for (size_t i = 0; i < c->verb->nr_params; i++) {
		const struct thinbd_param *p = &c->verb->params[i];
		struct json_object *into =
			p->flags & THINBD_FRONT_ONLY ? c->front : c->args;

		if (!(p->flags & THINBD_POSITIONAL))
			continue;
		if (p->group > 0 || !json_object_object_get_ex(into, p->name, NULL))
			return p;
	}
	return NULL;
}

static int take_operand(struct cli *c, const char *text)
{
	const struct thinbd_param *p = next_positional(c);

	if (!p)
		return cli_usage(c, "%s: one argument too many; see thinbd %s --help",
				 text, c->verb->name);
	return take_value(c, p, text);
}

/* --- what is missing, or does not go together -------------------------------- */

static int missing(const struct cli *c, const struct thinbd_param *p)
{
	char name[OPTION_NAME_MAX];

	if (p->flags & THINBD_POSITIONAL)
		return cli_usage(c, "%s: wants %s; see thinbd %s --help", c->verb->name,
				 p->value, c->verb->name);
	option_name(name, p->name);
	return cli_usage(c, "%s: wants --%s %s; see thinbd %s --help", c->verb->name,
			 name, p->value, c->verb->name);
}

static int check_complete(const struct cli *c)
{
	for (size_t i = 0; i < c->verb->nr_params; i++) {
		const struct thinbd_param *p = &c->verb->params[i];
		struct json_object *value = NULL;

		if (!json_object_object_get_ex(c->args, p->name, &value)) {
			if (p->flags & THINBD_REQUIRED)
				return missing(c, p);
		} else if (p->group > 1 && json_object_array_length(value) % p->group) {
			return missing(c, p);
		}
	}
	return CLI_DONE;
}

static int check_consistent(const struct cli *c)
{
	if (json_object_object_get_ex(c->args, "readonly", NULL) &&
	    json_object_object_get_ex(c->args, "writable", NULL))
		return cli_usage(c, "%s: --readonly or --writable, not both",
				 c->verb->name);
	return CLI_DONE;
}

/* --- the two passes ---------------------------------------------------------- */

static int parse_globals(struct cli *c)
{
	struct option options[NR_GLOBALS + 1] = {0};
	int code;

	memcpy(options, globals, sizeof(globals));
	optind = 0; /* from the start */
	while ((code = getopt_long(c->argc, c->argv, UP_TO_VERB, options, NULL)) != -1)
		if (!take_global(c, code))
			return bad_option(c, code);
	return CLI_DONE;
}

/* @argv: what follows the verb, behind a first that getopt passes over. */
static int parse_verb(struct cli *c, int argc, char **argv)
{
	struct verb_options options;
	int code, status = CLI_DONE;
	struct cli view = *c; /* for complaints: getopt's indices are @argv's */

	fill_options(&options, c->verb);
	view.argc = argc;
	view.argv = argv;
	optind = 0;
	while (!status &&
	       (code = getopt_long(argc, argv, IN_PLACE, options.all, NULL)) != -1) {
		if (code == OPERAND)
			status = take_operand(c, optarg);
		else if (code >= VERB_OPTION)
			status = take_value(c, &c->verb->params[code - VERB_OPTION],
					    optarg);
		else if (!take_global(c, code))
			status = bad_option(&view, code);
	}
	while (!status && optind < argc)
		status = take_operand(c, argv[optind++]);
	return status;
}

/* Take @argv[*i] where it is "--name VALUE" or "--name=VALUE"; NULL: no value. */
static bool take_foreign(const char *name, int argc, char **argv, int *i,
			 const char **ret_value)
{
	size_t len = strlen(name);

	if (strncmp(argv[*i], name, len) != 0)
		return false;
	if (argv[*i][len] == '=')
		*ret_value = argv[*i] + len + 1;
	else if (!argv[*i][len])
		*ret_value = *i + 1 < argc ? argv[++*i] : NULL;
	else
		return false;
	return true;
}

/*
 * For a verb whose arguments are another program's: up to a "--", our global
 * options are taken out of them.
 */
static int parse_foreign(struct cli *c, int argc, char **argv)
{
	int status = CLI_DONE;
	int i;

	for (i = 1; i < argc && !status && strcmp(argv[i], "--") != 0; i++) {
		const char *option = argv[i], *value = option;

		if (!strcmp(option, "--help") || !strcmp(option, "-h"))
			c->help = true;
		else if (take_foreign("--pool", argc, argv, &i, &value))
			c->pool_option = value;
		else if (take_foreign("--config", argc, argv, &i, &value))
			c->config = value;
		else
			status = take_operand(c, option);
		if (!value)
			return cli_usage(c, "%s: wants a value; see thinbd --help",
					 option);
	}
	for (i++; i < argc && !status; i++)
		status = take_operand(c, argv[i]);
	return status;
}

int cli_parse(struct cli *c)
{
	int first, status;

	c->args = must_have(json_object_new_object());
	c->front = must_have(json_object_new_object());
	status = parse_globals(c);
	if (status || c->version)
		return status;
	first = optind;
	if (first >= c->argc)
		return c->help ? CLI_DONE : cli_usage(c, "no verb; see thinbd --help");
	c->verb = thinbd_find_verb(c->argv[first]);
	if (!c->verb)
		return cli_usage(c, "%s: no such verb; see thinbd --help",
				 c->argv[first]);
	if (c->verb->flags & THINBD_VERB_FRONT)
		return parse_foreign(c, c->argc - first, c->argv + first);
	status = parse_verb(c, c->argc - first, c->argv + first);
	if (status || c->help || c->version)
		return status;
	status = check_complete(c);
	return status ? status : check_consistent(c);
}
