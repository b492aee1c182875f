/* SPDX-License-Identifier: BSD-3-Clause */
/* The verb of flatten.c. */
#include "service/flatten.h"
#include "service/requests.h"

static int tell_progress(void *ctx, uint64_t done, uint64_t total)
{
	return thin_progress(ctx, done, total);
}

int thin_do_flatten(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	struct thin_flatten_params p = {
		.name = thin_arg_text(c->args, "name"),
		.device = THIN_NO_DEVICE,
		.progress = tell_progress,
		.ctx = c,
	};
	struct thin_error why = {0};
	uint64_t copied = 0;
	int r = thin_arg_size(c->args, "rate", &p.rate, &why);

	if (r)
		return thin_error_set(e, r, "%s: %s", p.name, why.text);
	r = thin_flatten(c->t, &p, &copied, e);
	if (r)
		return r;
	*ret = json_object_new_object();
	thin_json_add(*ret, "name", thin_json_string(p.name));
	thin_json_add(*ret, "copied_bytes", thin_json_number(copied));
	thin_json_add(*ret, "done", json_object_new_boolean(true));
	return 0;
}
