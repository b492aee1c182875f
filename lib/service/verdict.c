/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/verdict.h"

#include "service/reply.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Problems that are told one by one; the rest is only counted. */
#define MAX_PROBLEMS 1000

/* Names in one problem. */
#define MAX_NAMES 100

int thin_verdict_init(struct thin_verdict *v, struct thin_registry *registry)
{
	*v = (struct thin_verdict){
		.registry = registry,
		.problems = json_object_new_array(),
	};
	return v->problems ? 0 : -ENOMEM;
}

void thin_verdict_fini(struct thin_verdict *v)
{
	json_object_put(v->problems);
	v->problems = NULL;
}

/* --- names --------------------------------------------------------------- */

static bool name_of(void *ctx, uint64_t device, char *buf, size_t len)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;
	struct thin_verdict *v = ctx;

	if (!v->registry || device > THIN_MAX_DEVICE_ID ||
	    thin_registry_find_device(v->registry, (uint32_t)device, &conf))
		return false;
	if (thin_is_tombstone(conf->name))
		snprintf(buf, len, "deleted device %u", conf->device);
	else
		snprintf(buf, len, "volume %s", conf->name);
	return true;
}

/* The volumes with a device in [@first, @last]. */
static struct json_object *names_in(struct thin_verdict *v, uint64_t first, uint64_t last)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	struct json_object *array = json_object_new_array();

	if (!v->registry || thin_registry_list(v->registry, &list))
		return array;
	for (size_t i = 0; array && i < list.nr; i++) {
		uint32_t device = list.at[i]->device;
		if (device == THIN_NO_DEVICE || device < first || device > last ||
		    json_object_array_length(array) == MAX_NAMES)
			continue;
		(void)json_object_array_add(array, thin_json_string(list.at[i]->name));
	}
	return array;
}

static struct json_object *names_of(struct thin_verdict *v, const struct thin_finding *f)
{
	if (f->device != THIN_AUDIT_NO_DEVICE)
		return names_in(v, f->device, f->device);
	if (f->unit == THIN_AUDIT_DEVICES || f->unit == THIN_AUDIT_DETAILS)
		return names_in(v, f->first, f->last);
	return json_object_new_array();
}

/* --- problems ------------------------------------------------------------ */

static void add_problem(struct thin_verdict *v, const char *text,
			struct json_object *names)
{
	struct json_object *o;

	if (json_object_array_length(v->problems) >= MAX_PROBLEMS) {
		json_object_put(names);
		return;
	}
	o = json_object_new_object();
	thin_json_add(o, "message", thin_json_string(text));
	thin_json_add(o, "volumes", names);
	(void)json_object_array_add(v->problems, o);
}

void thin_verdict_add(struct thin_verdict *v, const char *name, const char *fmt, ...)
{
	struct json_object *names = json_object_new_array();
	char text[THIN_ERROR_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (names && name)
		(void)json_object_array_add(names, thin_json_string(name));
	v->errors++;
	add_problem(v, text, names);
}

static bool is_leak(const struct thin_finding *f)
{
	return f->kind == THIN_AUDIT_DATA_LEAK || f->kind == THIN_AUDIT_METADATA_LEAK;
}

static int on_finding(void *ctx, const struct thin_finding *f)
{
	struct thin_verdict *v = ctx;
	char text[THIN_FINDING_TEXT + 2 * THIN_NAME_MAX];

	if (f->kind == THIN_AUDIT_SB_NEEDS_CHECK)
		v->needs_check = true;
	/* Of the notes one is for the owner: part of it may be another part. */
	if (f->severity == THIN_AUDIT_NOTE && f->kind != THIN_AUDIT_DOUBLE_FLAGGED)
		return 0;
	v->errors += f->severity != THIN_AUDIT_NOTE;
	v->damage += f->severity != THIN_AUDIT_NOTE;
	if (is_leak(f) && f->last != UINT64_MAX)
		v->leaks += f->last - f->first + 1;
	thin_finding_format(f, name_of, v, text, sizeof(text));
	add_problem(v, text, names_of(v, f));
	return 0;
}

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
	const struct thinbd_observer *o = ctx;

	if (!o || !o->progress)
		return 0;
	return o->progress(o->ctx, done, total) ? -ECANCELED : 0;
}

int thin_verdict_audit(struct thin_verdict *v, struct thin_storage *metadata,
		       uint64_t nr_data_blocks, const struct thinbd_observer *observer,
		       struct thin_error *e)
{
	struct thin_audit_params params = {
		.nr_data_blocks = nr_data_blocks,
		.progress = on_progress,
		.progress_ctx = (void *)observer, /* the audit only hands it back */
	};
	struct thin_audit_summary summary;
	int r = thin_audit(metadata, &params, on_finding, v, &summary, e);

	if (r)
		return r;
	v->blocks_read = summary.blocks_read;
	return 0;
}

struct json_object *thin_verdict_json(struct thin_verdict *v)
{
	struct json_object *o = json_object_new_object();

	if (v->needs_check)
		add_problem(
			v,
			"the metadata is marked as in need of a check, and so read-only; "
			"`thinbd check --repair` takes the mark away",
			json_object_new_array());
	thin_json_add(o, "clean", json_object_new_boolean(!v->errors && !v->needs_check));
	thin_json_add(o, "errors", thin_json_number(v->errors));
	thin_json_add(o, "leaks", thin_json_number(v->leaks));
	thin_json_add(o, "blocks_checked", thin_json_number(v->blocks_read));
	thin_json_add(o, "problems", json_object_get(v->problems));
	return o;
}
