// What tests of the SDK ask of a plugin in C, by its setting.
#include "stagepost.h"

static bool is(sp_text word) { return sp_equal(sp_as_text(sp_get(sp_config(), SP("word"))), word); }

static __attribute__((noinline)) int deep(int n) {
  volatile char large[1024];
  large[n % 7] = 1;
  return n == 0 ? 0 : deep(n - 1) + large[0];
}

static sp_verdict on_connect(sp_session session) {
  if (is(SP("panic"))) sp_die("%s:%d: no such thing", "plugin.c", __LINE__);
  if (is(SP("fail"))) return sp_fail("cannot tell %d of %.*s", 7, SP_ARG(sp_session_id(session)));
  if (is(SP("refused"))) {
    sp_value v;
    SP_TRY(sp_addr_parse(SP_NO_TEXT, &v));
  }
  if (is(SP("memory")))
    for (;;) sp_alloc(1 << 20);
  if (is(SP("stack"))) return deep(10000);
  if (is(SP("arena"))) sp_alloc(20 << 20); // more would not do twice
  return SP_NEXT;
}

// One field, which is all that the benchmark asks for.
static sp_verdict on_helo(sp_session session) { return sp_session_port(session) == 1 ? sp_reject(SP("port 1")) : SP_NEXT; }

SP_PLUGIN(.connect = on_connect, .helo = on_helo)
