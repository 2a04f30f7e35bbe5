/* SPDX-License-Identifier: MIT
 *
 * What V8 writes into a perf map for JavaScript that it compiled (node --perf-basic-prof): "JS:*name
 * file:LINE:COLUMN", up to Node 18 "LazyCompile:*name file:LINE:COLUMN", where the sign tells the compiler
 * and the place is where the function begins.
 */
#include <stdlib.h>
#include <string.h>

#include "modules.h"

/* Where the file begins that ends the text: a path, a URL, or one of Node's own. */
static const char *file_find(const char *text)
{
	static const char *const begins[] = {" /", " file://", " node:"};
	const char *first = NULL;
	for (size_t i = 0; i < LENGTH(begins); i++) {
		const char *at = strstr(text, begins[i]);
		if (at && (!first || at < first))
			first = at;
	}
	return first;
}

/* Cuts ":NUMBER" off the end. -1: there is none. */
static int number_cut(char *text)
{
	char *colon = strrchr(text, ':'), *end;
	long n = colon ? strtol(colon + 1, &end, 10) : -1;
	if (!colon || end == colon + 1 || *end || n < 0 || n > 100000000)
		return -1;
	*colon = 0;
	return (int)n;
}

bool js_frame(const char *name, struct frame *f)
{
	static const char *const prefixes[] = {"JS:", "LazyCompile:", "Function:"};
	char file[4096];
	const char *text = NULL;
	for (size_t i = 0; i < LENGTH(prefixes) && !text; i++)
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			text = name + strlen(prefixes[i]);
	if (!text)
		return false;
	text += strspn(text, "*^~+");
	const char *place = *text == ' ' ? text : file_find(text);
	if (!place || strlen(place + 1) >= sizeof file)
		return false;
	snprintf(file, sizeof file, "%s", strncmp(place + 1, "file://", 7) ? place + 1 : place + 8);
	int line = number_cut(file) < 0 ? -1 : number_cut(file);
	if (line < 0)
		return false;
	f->kind = FRAME_JS;
	f->function = place == text ? intern("(anonymous)") : intern_n(text, (size_t)(place - text));
	f->file = intern(file);
	f->line = line;
	f->origin = !strncmp(file, "node:", 5)	     ? ORIGIN_RUNTIME
		    : strstr(file, "/node_modules/") ? ORIGIN_PACKAGE
						     : ORIGIN_USER;
	return true;
}

bool js_dispatch(const char *symbol)
{
	return !strncmp(symbol, "Builtins_", 9) &&
	       (strstr(symbol, "CEntry") || strstr(symbol, "JSEntry") || strstr(symbol, "Trampoline"));
}
