package org.lakepass.spark.core;

import java.time.Duration;
import java.util.concurrent.Callable;

/** Waits for a condition instead of sleeping. */
public final class Eventually {
  private Eventually() {}

  public static void eventually(Duration limit, Callable<Boolean> condition) throws Exception {
    long deadline = System.nanoTime() + limit.toNanos();
    while (!condition.call()) {
      if (System.nanoTime() > deadline) {
        throw new AssertionError("not within " + limit.toMillis() + " ms");
      }
      Thread.sleep(5);
    }
  }

  /** Threads of ours that are alive. */
  public static long threads() {
    return Thread.getAllStackTraces().keySet().stream().filter(thread -> thread.getName().startsWith("lakepass-keys-")).count();
  }
}
