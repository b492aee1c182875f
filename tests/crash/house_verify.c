/* SPDX-License-Identifier: BSD-3-Clause */
#include "house_internal.h"

#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_content(struct thinbd_volume *v, uint32_t i, const struct model *model,
			 bool now, char *why, size_t len)
{
	const struct model_volume *mv = &model->volume[i];
	uint64_t nr = thinbd_volume_size(v) / THIN_SECTOR;
	_cleanup_free uint8_t *buf = must_alloc(nr, THIN_SECTOR);
	int r = thinbd_read(v, buf, 0, nr * THIN_SECTOR);

	if (r)
		return house_say(why, len, "v%u can not be read: %d", i, r);
	if (nr != mv->size[0] && nr != mv->size[1])
		return house_say(why, len, "v%u has %" PRIu64 " sectors", i, nr);
	for (uint64_t s = 0; s < nr; s++) {
		uint32_t value = stamp_read(buf + s * THIN_SECTOR, s);

		if (now ? !model_now(model, i, s, value) : !model_may(model, i, s, value))
			return house_say(why, len,
					 "v%u, sector %" PRIu64 ": %" PRIu32
					 " was read, expected %s",
					 i, s, value, model_describe(model, i, s));
	}
	return 0;
}

/* @ret_there: is it? */
static int check_volume(struct thinbd *t, uint32_t i, const struct model *model, bool now,
			bool *ret_there, char *why, size_t len)
{
	enum model_exists exists = model->volume[i].exists;
	struct thinbd_error e = {0};
	struct thinbd_volume *v;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "v%u", i);
	r = thinbd_volume_open(t, name, true, &v, &e);
	*ret_there = !r;
	if (r && r != -ENOENT)
		return house_say(why, len, "%s: %.300s", name, e.text);
	if (r)
		return exists == MODEL_YES ? house_say(why, len, "%s is gone", name) : 0;
	if (exists == MODEL_NO)
		r = house_say(why, len, "%s is there, and must not be", name);
	else
		r = check_content(v, i, model, now, why, len);
	thinbd_volume_close(v);
	return r;
}

/* What comes or goes only together. */
static int check_pairs(const struct model *model, const bool *there, char *why,
		       size_t len)
{
	for (uint32_t i = 0; i < HOUSE_SLOTS; i++) {
		const struct model_volume *v = &model->volume[i];

		if (v->exists == MODEL_COMING && v->renaming &&
		    there[i] == there[v->source])
			return house_say(why, len, "v%u is v%u now: %s there", v->source,
					 i, there[i] ? "both are" : "neither is");
		if (v->exists == MODEL_COMING && v->group &&
		    there[i] != there[v->group - 1])
			return house_say(why, len, "v%u is there without v%u", i,
					 v->group - 1);
	}
	return 0;
}

static unsigned count(const char *text, const char *what)
{
	unsigned nr = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		nr++;
	}
	return nr;
}

/*
 * I12: one name for each device, and the other way round.  A device that has
 * none is called "#" and its number; a name that has none can't be opened.
 */
static int check_names(struct thinbd *t, const bool *there, char *why, size_t len)
{
	unsigned nr = 0;
	char *reply;
	int r = 0;

	for (uint32_t i = 0; i < HOUSE_SLOTS; i++)
		nr += there[i];
	if (!house_ask(t, "{\"verb\":\"list\"}", &reply))
		r = house_say(why, len, "list: %.300s", reply);
	else if (strstr(reply, "\"#"))
		r = house_say(why, len, "a device has no name: %.300s", reply);
	else if (count(reply, "\"name\":\"v") != nr)
		r = house_say(why, len, "%u volumes are there, but %.300s", nr, reply);
	free(reply);
	return r;
}

int house_check(struct thinbd *t, const struct model *model, bool now, char *why,
		size_t len)
{
	bool there[HOUSE_SLOTS];
	int r = 0;

	for (uint32_t i = 0; i < HOUSE_SLOTS && !r; i++)
		r = check_volume(t, i, model, now, &there[i], why, len);
	if (!r)
		r = check_pairs(model, there, why, len);
	return r ? r : check_names(t, there, why, len);
}

static int verify_once(struct disk *disk, struct folder *folder,
		       const struct model *model, char *why, size_t len)
{
	struct thinbd_error e = {0};
	struct thinbd *t;
	int r = house_open_with(&disk[REC_METADATA].base, &disk[REC_DATA].base, folder,
				&t, &e);

	if (r)
		return house_say(why, len, "it does not open: %.400s", e.text);
	r = house_check(t, model, false, why, len);
	if (thinbd_close(t) && !r)
		r = house_say(why, len, "it does not close");
	if (!r)
		r = verify_audit(&disk[REC_METADATA].base, 0, why, len);
	return r;
}

int house_verify(struct disk *disk, struct folder *folder, const struct model *model,
		 char *why, size_t len)
{
	int r = verify_once(disk, folder, model, why, len);

	if (r)
		return r;
	disk[REC_METADATA].changes = disk[REC_DATA].changes = folder->changes = 0;
	r = verify_once(disk, folder, model, why, len);
	if (!r &&
	    (disk[REC_METADATA].changes || disk[REC_DATA].changes || folder->changes))
		r = house_say(why, len, "opening it a second time changed it");
	return r;
}
