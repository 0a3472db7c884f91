package org.lakepass.spark.core;

import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A thread that keeps the keys for some settings fresh.
 *
 * <p>It asks the broker whether the keys in hand are still the ones, and lets it hold the question for the poll
 * interval: so new keys arrive when something changes and nothing is sent meanwhile. A broker that does not hold
 * questions is asked once in a poll interval. While the broker is away the keys in hand are served until they end.
 */
final class Refresher {
  private static final Logger LOG = LoggerFactory.getLogger(Refresher.class);

  /** How long a caller waits for keys when there are none in hand. */
  static final Duration PATIENCE = Duration.ofSeconds(30);
  /** Between two new keys, so that a broker that always has newer ones is not asked without end. */
  private static final Duration PAUSE_AFTER_CHANGE = Duration.ofSeconds(1);

  private static final AtomicInteger STARTED = new AtomicInteger();

  private final Settings settings;
  private final BrokerClient broker;
  private final Clock clock;
  private final Duration patience;
  private final Backoff backoff;
  private final Thread thread;

  /** Written by the thread alone, under the monitor; read without it on every request to the store. */
  private volatile SessionKeys keys;
  /** Of {@link #keys}; the thread's own. */
  private String tag;
  /** What the last question came to; {@code null} if it was answered. Guarded by the monitor, as is {@link #ended}. */
  private LakepassException problem;
  private boolean ended;

  /** @param stillWanted asked before each question; when it says no, the thread ends */
  Refresher(Settings settings, BrokerClient broker, Clock clock, Duration patience, BooleanSupplier stillWanted) {
    this.settings = settings;
    this.broker = broker;
    this.clock = clock;
    this.patience = patience;
    this.backoff = new Backoff(settings.pollInterval(), bound -> ThreadLocalRandom.current().nextLong(bound));
    // Nothing inherited: a caller's thread locals and class loader would live as long as this thread.
    this.thread = new Thread(null, () -> run(stillWanted), "lakepass-keys-" + STARTED.incrementAndGet(), 0, false);
    thread.setDaemon(true);
    thread.setContextClassLoader(Refresher.class.getClassLoader());
  }

  void start() {
    if (settings.sendsTokenInTheClear()) {
      LOG.warn("The token goes to {} unencrypted: use https", settings.url());
    }
    thread.start();
  }

  /** Ends the thread, and whoever waits for keys. */
  void end() {
    synchronized (this) {
      ended = true;
      notifyAll();
    }
    thread.interrupt();
  }

  /**
   * The keys in hand, from memory. If there are none, or they have ended, waits for some; not long, and not at all if the
   * broker has refused them.
   */
  SessionKeys keys() throws LakepassException {
    SessionKeys inHand = keys;
    return inHand != null && inHand.validAt(clock.instant()) ? inHand : awaitKeys();
  }

  private synchronized SessionKeys awaitKeys() throws LakepassException {
    long deadline = System.nanoTime() + patience.toNanos();
    while (true) {
      if (ended) {
        throw LakepassException.refused("The Lakepass credentials provider is closed.");
      }
      if (keys != null && keys.validAt(clock.instant())) {
        return keys;
      }
      long remainingMillis = Duration.ofNanos(deadline - System.nanoTime()).toMillis();
      if (problem != null && problem.isRefused()) {
        throw problem;
      }
      if (remainingMillis <= 0) {
        throw LakepassException.passing(
            "Lakepass at " + settings.url() + " gives no keys now: " + (problem == null ? "it does not answer" : problem.getMessage())
                + (keys == null ? "." : ". Those in hand ended at " + keys.expiration() + "."));
      }
      try {
        wait(remainingMillis);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw LakepassException.passing("Interrupted while waiting for keys from Lakepass at " + settings.url() + ".");
      }
    }
  }

  private void run(BooleanSupplier stillWanted) {
    try {
      int failures = 0;
      while (stillWanted.getAsBoolean()) {
        long started = System.nanoTime();
        Duration pause;
        try {
          boolean changed = ask();
          failures = 0;
          Duration spent = Duration.ofNanos(System.nanoTime() - started);
          pause = changed ? min(PAUSE_AFTER_CHANGE, settings.pollInterval()) : settings.pollInterval().minus(spent);
        } catch (LakepassException e) {
          report(e);
          pause = e.isRefused() ? settings.pollInterval() : backoff.pause(failures, e.retryAfter());
          failures++;
        } catch (RuntimeException | LinkageError e) {
          // Should not happen, but whoever needs keys must neither wait for a thread that is gone nor be left in the dark.
          report(LakepassException.passing("the provider has a fault: " + e.getClass().getName()));
          pause = backoff.pause(failures++, Duration.ZERO);
        }
        if (!pause.isNegative()) {
          Thread.sleep(pause.toMillis());
        }
      }
    } catch (InterruptedException e) {
      LOG.debug("Ended: {}", settings);
    }
  }

  /** @return whether there are new keys */
  private boolean ask() throws LakepassException, InterruptedException {
    // Keys that have ended are not asked about: whatever the broker thinks, others are needed.
    boolean inHand = keys != null && keys.validAt(clock.instant());
    Optional<BrokerClient.Fresh> answer = broker.ask(inHand ? tag : null, settings.pollInterval());
    if (answer.isEmpty()) {
      recovered();
      return false;
    }
    BrokerClient.Fresh fresh = answer.get();
    Instant now = clock.instant();
    if (!fresh.keys.validAt(now)) {
      throw LakepassException.passing("it gave keys that end at " + fresh.keys.expiration() + ", and here it is " + now
          + " already: is this machine's clock right?");
    }
    recovered();
    synchronized (this) {
      boolean changed = keys == null || !keys.accessKeyId().equals(fresh.keys.accessKeyId());
      keys = fresh.keys;
      tag = fresh.tag;
      notifyAll();
      if (changed) {
        LOG.info("New Lakepass keys until {} ({})", keys.expiration(), settings);
      }
      return changed;
    }
  }

  private synchronized void recovered() {
    if (problem != null) {
      LOG.info("Lakepass answers again ({})", settings);
      problem = null;
    }
  }

  private synchronized void report(LakepassException now) {
    boolean known = problem != null && problem.getMessage().equals(now.getMessage());
    problem = now;
    notifyAll();
    if (known) {
      LOG.debug("Still no new Lakepass keys ({}): {}", settings, now.getMessage());
    } else {
      String until = keys == null ? "there are no keys yet" : "the keys in hand serve until " + keys.expiration();
      LOG.warn("No new Lakepass keys ({}), {}: {}", settings, until, now.getMessage());
    }
  }

  private static Duration min(Duration one, Duration other) {
    return one.compareTo(other) < 0 ? one : other;
  }
}
