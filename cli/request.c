/* SPDX-License-Identifier: BSD-3-Clause */
/* A request and its reply; and how it is said that something went wrong. */
#include "cli.h"
#include "print.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- complaints -------------------------------------------------------------- */

static struct json_object *new_error(const char *code, const char *message)
{
	struct json_object *error = must_have(json_object_new_object());
	struct json_object *o = must_have(json_object_new_object());

	json_object_object_add(error, "code", must_have(json_object_new_string(code)));
	json_object_object_add(error, "message",
			       must_have(json_object_new_string(message)));
	json_object_object_add(o, "error", error);
	return o;
}

/* Also for an error in arguments that come before --json. */
static bool wants_json(const struct cli *c)
{
	bool found = c->json;

	for (int i = 1; i < c->argc && !found && strcmp(c->argv[i], "--") != 0; i++)
		found = !strcmp(c->argv[i], "--json");
	return found;
}

/* Names and paths of others are in it: it stays one line. */
static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static void say(char *text)
{
	one_line(text);
	fprintf(stderr, "thinbd: %s\n", text);
}

void cli_say(const char *fmt, ...)
{
	char text[2 * THINBD_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(text);
}

int cli_complain(const struct cli *c, int status, const char *code, const char *fmt, ...)
{
	char text[2 * THINBD_TEXT_MAX];
	struct json_object *o;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(text);
	if (!wants_json(c))
		return status;
	o = new_error(code, text);
	cli_print_json(o);
	json_object_put(o);
	return status;
}

#define PRINTED (JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

void cli_print_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, PRINTED));
}

/* Something that is printed as @o is, and takes a tenth of the memory. */
static struct json_object *as_printed(struct json_object *o)
{
	char *text = must_have(strdup(json_object_to_json_string_ext(o, PRINTED)));
	struct json_object *printed = must_have(json_object_new_boolean(true));

	json_object_set_serializer(printed, json_object_userdata_to_json_string, text,
				   json_object_free_userdata);
	return printed;
}

/* --- Ctrl-C ------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

void cli_catch_interrupt(void)
{
	/* A second one ends the process, as ever. */
	struct sigaction sa = {.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND};

	sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGINT, &sa, NULL); /* cannot fail for these arguments */
}

bool cli_interrupted(void)
{
	return interrupted;
}

/* --- asking ------------------------------------------------------------------ */

struct asking {
	struct cli *c;
	void (*item)(const struct cli *c, struct json_object *item);
	struct json_object *items; /* where they are collected */
	struct json_tokener *tok;
	bool makes_no_sense; /* what the server sent */
};

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
	const struct asking *a = ctx;

	if (a->c->begun)
		a->c->begun(a->c);
	a->c->begun = NULL;
	if (!a->c->json)
		cli_progress(a->c->verb->name, done, total);
	return interrupted;
}

static struct json_object *parse_item(struct asking *a, const char *json, size_t len)
{
	struct json_object *o;

	json_tokener_reset(a->tok);
	o = json_tokener_parse_ex(a->tok, json, (int)len + 1);
	if (o && json_tokener_get_parse_end(a->tok) == len)
		return o;
	json_object_put(o);
	return NULL;
}

/* Ends the request where nobody reads on (`| head`), or sense is missing. */
static int on_item(void *ctx, const char *json, size_t len)
{
	struct asking *a = ctx;
	struct json_object *o = parse_item(a, json, len);

	a->makes_no_sense |= !o;
	if (o && a->item)
		a->item(a->c, o);
	else if (o)
		json_object_array_add(a->items,
				      a->c->json ? as_printed(o) : json_object_get(o));
	json_object_put(o);
	return a->makes_no_sense || interrupted || ferror(stdout);
}

static char *request_text(const struct cli *c)
{
	struct json_object *o = must_have(json_object_new_object());
	char *text;

	json_object_object_add(o, "verb",
			       must_have(json_object_new_string(c->verb->name)));
	json_object_object_add(o, "args", json_object_get(c->args));
	text = must_have(strdup(json_object_to_json_string(o)));
	json_object_put(o);
	return text;
}

static int complain_of_nonsense(const struct cli *c)
{
	return cli_complain(c, CLI_COULD_NOT, "EPROTO", "no answer that makes sense");
}

/* Take @reply apart: its result, or say its error. */
static int take_reply(const struct cli *c, struct json_object *reply,
		      struct json_object **ret_result)
{
	struct json_object *error = NULL, *result = NULL;
	const char *code, *message;

	if (json_object_object_get_ex(reply, "result", &result)) {
		*ret_result = json_object_get(result);
		return CLI_DONE;
	}
	(void)json_object_object_get_ex(reply, "error", &error);
	code = text_of(error, "code");
	message = text_of(error, "message");
	if (ferror(stdout)) /* cancelled for that; main() has a word on it */
		return CLI_COULD_NOT;
	if (!message)
		return complain_of_nonsense(c);
	return cli_complain(c, CLI_COULD_NOT, code ? code : "EPROTO", "%s", message);
}

/* Send it; what comes of it but items. */
static int call(struct asking *a, const struct thinbd_observer *observer,
		struct json_object **ret_result)
{
	struct cli *c = a->c;
	char *request = request_text(c), *reply = NULL;
	struct json_object *o;
	int r, status;

	r = thinbd_call(c->pool, request, observer, &reply);
	cli_progress_end();
	free(request);
	if (r)
		return cli_complain(c, CLI_COULD_NOT, thinbd_errname(r), "%s: %s",
				    c->pool, strerror(-r));
	o = json_tokener_parse(reply);
	free(reply);
	status = a->makes_no_sense ? complain_of_nonsense(c)
				   : take_reply(c, o, ret_result);
	json_object_put(o);
	return status;
}

/* What comes in items is taken as such, and never made one long text of. */
int cli_ask(struct cli *c, void (*item)(const struct cli *c, struct json_object *item),
	    struct json_object **ret_result)
{
	unsigned flags = c->verb->flags;
	struct asking a = {
		.c = c,
		.item = item,
		.items = must_have(json_object_new_array()),
		.tok = must_have(json_tokener_new()),
	};
	bool collects =
		!item && (flags & THINBD_VERB_STREAMS) && !(flags & THINBD_VERB_TEXT);
	struct thinbd_observer observer = {
		.ctx = &a,
		.progress = flags & THINBD_VERB_LONG ? on_progress : NULL,
		.item = item || collects ? on_item : NULL,
	};
	int status;

	if (flags & THINBD_VERB_LONG)
		cli_catch_interrupt();
	status = call(&a, &observer, ret_result);
	if (!status && collects)
		*ret_result = json_object_get(a.items);
	json_object_put(a.items);
	json_tokener_free(a.tok);
	return status;
}
