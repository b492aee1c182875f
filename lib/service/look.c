/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * What was looked at stays for the whole call, be it begun again for other reasons:
 * what is recorded is compared with what is there at every open anyhow (I6).
 */
struct thin_look {
	struct thin_look *next;
	char *origin;
	char *path; /* to open; NULL: it is no path */
	struct thin_identity identity;
	int result;
	struct thin_error why;
	bool done;
};

void thin_looks_fini(struct thin_looks *l)
{
	struct thin_look *look;

	while ((look = l->list)) {
		l->list = look->next;
		free(look->origin);
		free(look->path);
		free(look);
	}
}

static const struct thin_look *find(const struct thin_looks *l, const char *origin)
{
	const struct thin_look *look = l->list;

	while (look && strcmp(look->origin, origin) != 0)
		look = look->next;
	return look;
}

static int add(struct thin_looks *l, const char *origin)
{
	struct thin_look *look = calloc(1, sizeof(*look));
	char *copy = strdup(origin);

	if (!look || !copy) {
		free(look);
		free(copy);
		return -ENOMEM;
	}
	*look = (struct thin_look){.next = l->list, .origin = copy};
	l->list = look;
	return -EAGAIN;
}

static int look_at(struct thin_look *look)
{
	_cleanup_storage struct thin_storage *s = NULL;
	const char *where = look->origin;
	int r;

	if (!thin_storage_is_uri(where)) {
		where = look->path = realpath(look->origin, NULL);
		if (!where)
			return -errno;
	}
	r = thin_storage_open(where, THIN_STORAGE_READONLY | THIN_STORAGE_NO_WRITERS, &s,
			      &look->why);
	return r ? r : thin_storage_identity(s, &look->identity);
}

bool thin_looks_go(struct thin_looks *l)
{
	bool looked = false;

	for (struct thin_look *look = l->list; look; look = look->next) {
		if (look->done)
			continue;
		look->result = look_at(look);
		look->done = looked = true;
	}
	return looked;
}

static int see(struct thin_looks *l, const char *origin, const char **ret_path,
	       struct thin_identity *ret, struct thin_error *why)
{
	const struct thin_look *look = find(l, origin);

	if (!look)
		return add(l, origin);
	*why = look->why;
	*ret_path = look->path;
	*ret = look->identity;
	return look->result;
}

static int record(struct thin_volume_conf *conf, const char *origin, const char *path,
		  const struct thin_identity *identity)
{
	int r = thin_string_set(&conf->origin, origin);

	if (!r)
		r = thin_string_set(&conf->origin_path, path);
	if (r)
		return r;
	conf->origin_size = identity->size;
	conf->origin_inode = identity->inode;
	conf->origin_mtime_ns = identity->mtime_ns;
	conf->origin_ctime_ns = identity->ctime_ns;
	return 0;
}

int thin_origin_record(struct thinbd *t, const char *origin, struct thin_looks *l,
		       struct thin_volume_conf *conf, struct thin_error *e)
{
	const char *volume = thin_origin_volume(origin), *path = NULL;
	struct thin_identity identity;
	struct thin_error why = {0};
	/* Of a volume all is known: nothing has to be opened. */
	int r = volume ? thin_origin_of_volume(t, volume, conf->name, &identity, &why)
		       : see(l, origin, &path, &identity, &why);

	if (r == -EAGAIN)
		return r;
	if (r)
		return thin_error_set(e, r, "%s: origin %s: %s", conf->name, origin,
				      why.text[0] ? why.text : thin_strerror(r));
	return record(conf, origin, path, &identity);
}
