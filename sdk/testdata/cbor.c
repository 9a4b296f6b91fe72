// Reads items, each with its length before it, and writes each as it was understood: decoded, taken apart, put together again.
// What is no value gets the length 0xffffffff.
#include <stdio.h>
#include <stdlib.h>

#include "stagepost.h"

const sp_plugin stagepost_plugin = {0};

int32_t stagepost_field(uint32_t object, uint32_t index, uint32_t field, void *buf, uint32_t room) { abort(); (void)object, (void)index, (void)field, (void)buf, (void)room; }
int32_t stagepost_header(const void *name, uint32_t name_len, uint32_t n, void *buf, uint32_t room) { abort(); (void)name, (void)name_len, (void)n, (void)buf, (void)room; }
int32_t stagepost_content_read(uint32_t content, int64_t offset, void *buf, uint32_t room) { abort(); (void)content, (void)offset, (void)buf, (void)room; }
int32_t stagepost_content_emit(const void *ptr, uint32_t len) { abort(); (void)ptr, (void)len; }
int32_t stagepost_edit(uint32_t edit, uint32_t object, uint32_t index, const void *ptr, uint32_t len) { abort(); (void)edit, (void)object, (void)index, (void)ptr, (void)len; }
int64_t stagepost_svc(const void *name, uint32_t name_len, const void *args, uint32_t args_len) { abort(); (void)name, (void)name_len, (void)args, (void)args_len; }
int32_t stagepost_svc_read(uint32_t handle, int64_t offset, void *buf, uint32_t room) { abort(); (void)handle, (void)offset, (void)buf, (void)room; }
int32_t stagepost_svc_close(uint32_t handle) { abort(); (void)handle; }
void stagepost_log(uint32_t level, const void *text, uint32_t len) { fprintf(stderr, "log %u: %.*s\n", level, (int)len, (const char *)text); }

static sp_value again(sp_value v) {
  switch (v.type) {
  case SP_BOOL:
    return sp_of_bool(sp_as_bool(v));
  case SP_INT:
    return sp_of_int(sp_as_int(v, 7));
  case SP_FLOAT:
    return sp_of_float(sp_as_float(v, 7));
  case SP_TEXT:
    return sp_of_text(sp_as_text(v));
  case SP_BYTES:
    return sp_of_bytes(sp_as_text(v));
  case SP_LIST: {
    sp_value *items = sp_alloc(v.count * sizeof *items);
    uint32_t n = 0;
    for (sp_iter i = sp_begin(v); sp_next(&i);) items[n++] = again(i.value);
    return sp_of_list(items, n);
  }
  case SP_MAP: {
    sp_pair *pairs = sp_alloc(v.count * sizeof *pairs);
    uint32_t n = 0;
    for (sp_iter i = sp_begin(v); sp_next(&i);) pairs[n++] = (sp_pair){i.key, again(i.value)};
    return sp_of_map(pairs, n);
  }
  default:
    return SP_NO_VALUE;
  }
}

int main(void) {
  uint32_t n;
  while (fread(&n, sizeof n, 1, stdin) == 1) {
    void *item = malloc(n ? n : 1); // exactly as large, so that the sanitizer sees what reads beyond
    sp_mark mark = sp_here();
    sp_value v;
    if (n && fread(item, n, 1, stdin) != 1) return 1;
    if (sp_decode(item, n, &v)) {
      sp_text raw = sp_encode(again(v));
      fwrite(&raw.len, sizeof raw.len, 1, stdout);
      fwrite(raw.ptr, 1, raw.len, stdout);
    } else {
      n = UINT32_MAX;
      fwrite(&n, sizeof n, 1, stdout);
    }
    sp_release(mark);
    free(item);
  }
  return 0;
}
