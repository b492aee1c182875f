/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

int thin_text_open(struct thin_text *t)
{
	t->out = open_memstream(&t->text, &t->len);
	return t->out ? 0 : -ENOMEM;
}

int thin_text_close(struct thin_text *t, char **ret_text, size_t *ret_len)
{
	bool failed = ferror(t->out);

	/* Closing is what completes the text. */
	if (fclose(t->out) || failed) {
		free(t->text);
		return -ENOMEM;
	}
	*ret_text = t->text;
	if (ret_len)
		*ret_len = t->len;
	return 0;
}

void thin_text_drop(struct thin_text *t)
{
	(void)fclose(t->out); /* nobody will read it */
	free(t->text);
}
