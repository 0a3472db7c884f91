package org.lakepass.spark.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.lakepass.spark.core.Eventually.eventually;
import static org.lakepass.spark.core.Eventually.threads;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The promises of the provider, over time. */
@Timeout(30)
class SharedKeysTest {
  private static final String TOKEN = "TOKEN-that-must-not-show";
  private static final Duration SOON = Duration.ofSeconds(5);
  private static final Duration INTERVAL = Duration.ofMillis(50);

  private final TestClock clock = new TestClock();
  private final SharedKeys shared = new SharedKeys(clock, Duration.ofSeconds(10));
  /** For keys that do not come. */
  private final SharedKeys impatient = new SharedKeys(clock, Duration.ofMillis(800));
  private final List<SharedKeys.Lease> leases = new ArrayList<>();
  private FakeBroker broker;

  @BeforeEach
  void start() throws IOException {
    broker = new FakeBroker();
    assertEquals(0, threads(), "left by an earlier test");
  }

  @AfterEach
  void stop() throws Exception {
    leases.forEach(SharedKeys.Lease::close);
    broker.close();
    eventually(SOON, () -> threads() == 0);
  }

  private Settings settings(TokenSource token, Duration pollInterval) {
    return new Settings(URI.create(broker.url()), token, "lake", Duration.ofHours(1), pollInterval, "https://login.test");
  }

  private SharedKeys.Lease lease(TokenSource token, Duration pollInterval) {
    return lease(shared, token, pollInterval);
  }

  private SharedKeys.Lease lease(SharedKeys of, TokenSource token, Duration pollInterval) {
    SharedKeys.Lease lease = of.newLease(settings(token, pollInterval));
    leases.add(lease);
    return lease;
  }

  private SharedKeys.Lease impatientLease() {
    return lease(impatient, TokenSource.literal(TOKEN), INTERVAL);
  }

  private SharedKeys.Lease lease() {
    return lease(TokenSource.literal(TOKEN), INTERVAL);
  }

  private static String keyOf(SharedKeys.Lease lease) throws LakepassException {
    return lease.keys().accessKeyId();
  }

  @Test
  void nothingIsAskedBeforeKeysAreNeeded() throws Exception {
    lease();
    assertEquals(0, threads());
    assertEquals(0, broker.questions.size());
  }

  @Test
  void keysComeFromMemory() throws Exception {
    SharedKeys.Lease lease = lease(TokenSource.literal(TOKEN), Duration.ofMinutes(5));
    for (int i = 0; i < 100_000; i++) {
      assertEquals("KEY1", keyOf(lease));
    }
    assertTrue(broker.questions.size() <= 2, "the first and perhaps a long poll: " + broker.questions.size());
  }

  @Test
  void aBrokerThatHoldsQuestionsIsAskedOnceInAnInterval() throws Exception {
    SharedKeys.Lease lease = lease(TokenSource.literal(TOKEN), Duration.ofSeconds(1));
    keyOf(lease);
    eventually(SOON, () -> broker.questions.size() == 3);
    assertEquals("\"tag1\"", broker.questions.get(2).tag);
    assertEquals("1", broker.questions.get(2).query.get("wait"));
    long between = broker.questions.get(2).askedAtNanos - broker.questions.get(1).askedAtNanos;
    assertTrue(between > 900_000_000L, "held for a second: " + between);
  }

  @Test
  void soIsOneThatDoesNot() throws Exception {
    broker.behave(FakeBroker::answerAtOnce);
    keyOf(lease(TokenSource.literal(TOKEN), Duration.ofMillis(300)));
    eventually(SOON, () -> broker.questions.size() == 5);
    long between = broker.questions.get(4).askedAtNanos - broker.questions.get(2).askedAtNanos;
    assertTrue(between > 580_000_000L, "two intervals: " + between);
  }

  @Test
  void newKeysAreThereAtOnceWithALongPoll() throws Exception {
    SharedKeys.Lease lease = lease(TokenSource.literal(TOKEN), Duration.ofSeconds(20));
    keyOf(lease);
    eventually(SOON, () -> broker.questions.size() == 2);
    broker.changeKeys();
    eventually(SOON, () -> keyOf(lease).equals("KEY2"));
  }

  @Test
  void newKeysAreThereWithinTheIntervalWithout() throws Exception {
    broker.behave(FakeBroker::answerAtOnce);
    SharedKeys.Lease lease = lease(TokenSource.literal(TOKEN), Duration.ofSeconds(1));
    keyOf(lease);
    broker.changeKeys();
    eventually(Duration.ofSeconds(3), () -> keyOf(lease).equals("KEY2"));
  }

  @Test
  void readersNeverPauseWhileKeysChange() throws Exception {
    SharedKeys.Lease lease = lease();
    keyOf(lease);
    broker.behave((b, question) -> {
      Thread.sleep(1500);
      b.answerAtOnce(question);
    });
    broker.changeKeys();
    long started = System.nanoTime();
    long longest = 0;
    boolean seen = false;
    while (!seen && System.nanoTime() - started < SOON.toNanos()) {
      long before = System.nanoTime();
      seen = keyOf(lease).equals("KEY2");
      longest = Math.max(longest, System.nanoTime() - before);
    }
    assertTrue(seen);
    assertTrue(longest < 1_000_000_000L, "ns: " + longest);
  }

  @Test
  void aBrokerWithEverNewerKeysIsNotHammered() throws Exception {
    broker.behave((b, question) -> {
      b.changeKeys();
      b.answerAtOnce(question);
    });
    SharedKeys.Lease lease = lease(TokenSource.literal(TOKEN), Duration.ofSeconds(20));
    keyOf(lease);
    Thread.sleep(1500);
    assertTrue(broker.questions.size() <= 3, "questions: " + broker.questions.size());
  }

  @Test
  void theBrokersAbsenceIsSurvivedUntilTheKeysEnd() throws Exception {
    SharedKeys.Lease lease = impatientLease();
    keyOf(lease);
    broker.behave((b, question) -> question.reply(503, "{\"message\":\"back soon\"}"));
    eventually(SOON, () -> broker.questions.stream().filter(q -> q.tag != null).count() > 3);
    clock.advance(Duration.ofMinutes(59));
    assertEquals("KEY1", keyOf(lease));
    clock.advance(Duration.ofMinutes(2));
    LakepassException failure = assertThrows(LakepassException.class, lease::keys);
    assertTrue(failure.getMessage().contains("back soon") && failure.getMessage().contains("ended at"), failure.getMessage());
    broker.changeKeys();
    broker.expireAt(clock.instant().plusSeconds(3600));
    broker.behaveWell();
    eventually(SOON, () -> keyOf(lease).equals("KEY2"));
  }

  /** A laptop that slept: the first request must not fail when the broker is there. */
  @Test
  void aRequestAfterTheKeysEndedWaitsForNewOnes() throws Exception {
    broker.behave(FakeBroker::answerAtOnce);
    SharedKeys.Lease lease = lease(TokenSource.literal(TOKEN), Duration.ofMillis(300));
    keyOf(lease);
    clock.advance(Duration.ofHours(2));
    broker.changeKeys();
    broker.expireAt(clock.instant().plusSeconds(3600));
    assertEquals("KEY2", keyOf(lease));
  }

  @Test
  void keysThatHaveEndedAreNotAskedAbout() throws Exception {
    SharedKeys.Lease lease = lease();
    keyOf(lease);
    clock.advance(Duration.ofHours(2));
    broker.expireAt(clock.instant().plusSeconds(3600));
    // The same keys and tag, with a later end.
    assertEquals("KEY1", keyOf(lease));
    assertTrue(lease.keys().validAt(clock.instant()));
  }

  @Test
  void theFirstKeysAreWaitedFor() throws Exception {
    broker.behave((b, question) -> {
      if (b.questions.size() < 2) {
        question.reply(503, "");
      } else {
        b.answerAtOnce(question);
      }
    });
    assertEquals("KEY1", keyOf(lease()));
  }

  @Test
  void butNotForEver() {
    broker.behave((b, question) -> Thread.sleep(60_000));
    long started = System.nanoTime();
    LakepassException failure = assertThrows(LakepassException.class, () -> impatientLease().keys());
    long millis = (System.nanoTime() - started) / 1_000_000;
    assertTrue(millis > 700 && millis < 8000, "ms: " + millis);
    assertTrue(failure.getMessage().contains(broker.url()), failure.getMessage());
  }

  @Test
  void retryAfterIsHonoured() throws Exception {
    broker.behave((b, question) -> {
      if (b.questions.size() == 1) {
        question.reply(503, "", "Retry-After", "2");
      } else {
        b.answerAtOnce(question);
      }
    });
    SharedKeys.Lease lease = lease();
    eventually(SOON, () -> {
      try {
        return keyOf(lease).equals("KEY1");
      } catch (LakepassException e) {
        return false;
      }
    });
    long between = broker.questions.get(1).askedAtNanos - broker.questions.get(0).askedAtNanos;
    assertTrue(between >= 2_000_000_000L, "ns: " + between);
  }

  @Test
  void aRefusalIsToldAtOnce() {
    broker.behave((b, question) -> question.reply(401, "{\"message\":\"expired\"}"));
    long started = System.nanoTime();
    LakepassException failure = assertThrows(LakepassException.class, () -> lease().keys());
    assertTrue(System.nanoTime() - started < 8_000_000_000L, "sooner than patience ends");
    assertTrue(failure.getMessage().contains("https://login.test"), failure.getMessage());
  }

  @Test
  void aNewTokenInTheFileIsTakenUp(@TempDir Path dir) throws Exception {
    Path file = Files.writeString(dir.resolve("token"), "expired");
    broker.behave((b, question) -> {
      if (question.token.equals("expired")) {
        question.reply(401, "");
      } else {
        b.answerAtOnce(question);
      }
    });
    SharedKeys.Lease lease = lease(TokenSource.file(file.toString()), INTERVAL);
    assertThrows(LakepassException.class, lease::keys);
    Files.writeString(file, "new");
    eventually(SOON, () -> {
      try {
        return keyOf(lease).equals("KEY1");
      } catch (LakepassException e) {
        return false;
      }
    });
  }

  @Test
  void keysInHandAreServedWhenTheTokenExpires() throws Exception {
    SharedKeys.Lease lease = lease();
    keyOf(lease);
    broker.behave((b, question) -> question.reply(401, ""));
    int asked = broker.questions.size();
    eventually(SOON, () -> broker.questions.size() > asked + 2);
    assertEquals("KEY1", keyOf(lease));
  }

  @Test
  void keysOfAnotherTimeAreNotUsed() {
    broker.expireAt(clock.instant().minusSeconds(1));
    LakepassException failure = assertThrows(LakepassException.class, () -> impatientLease().keys());
    assertTrue(failure.getMessage().contains("clock"), failure.getMessage());
  }

  @Test
  void aFaultOfOurOwnNeitherHangsNorStopsIt() throws Exception {
    TokenSource faulty = new TokenSource() {
      private int read;

      @Override
      String read() {
        if (read++ < 2) {
          throw new IllegalStateException(TOKEN);
        }
        return "T";
      }

      @Override
      String howToReplace() {
        return "";
      }

      @Override
      String identity() {
        return "";
      }
    };
    try (Logs logs = new Logs()) {
      assertEquals("KEY1", keyOf(lease(faulty, INTERVAL)));
      assertTrue(logs.text().contains("IllegalStateException"), logs.text());
      assertFalse(logs.text().contains(TOKEN));
    }
  }

  @Test
  void nothingThatIsLoggedIsSecretAndNothingIsRepeated() throws Exception {
    try (Logs logs = new Logs()) {
      SharedKeys.Lease lease = lease();
      keyOf(lease);
      for (FakeBroker.Behaviour fault : List.<FakeBroker.Behaviour>of(
          (b, question) -> question.reply(503, "{\"message\":\"away\"}"),
          (b, question) -> question.reply(401, "{\"message\":\"expired\"}"),
          (b, question) -> question.reply(200, b.keysJson().replace("Expiration", "Expired")),
          (b, question) -> question.reply(200, "{" + b.keysJson()))) {
        broker.behave(fault);
        int asked = broker.questions.size();
        eventually(SOON, () -> broker.questions.size() > asked + 3);
      }
      broker.changeKeys();
      broker.behaveWell();
      eventually(SOON, () -> keyOf(lease).equals("KEY2"));
      String all = logs.text() + lease;
      for (String secret : new String[] {TOKEN, FakeBroker.SECRET_KEY, FakeBroker.SESSION_TOKEN}) {
        assertFalse(all.contains(secret), all);
      }
      assertEquals(4, logs.count("WARNING: No new Lakepass keys"), all);
      assertEquals(1, logs.count("answers again"), all);
      assertEquals(2, logs.count("INFO: New Lakepass keys"), all);
    }
  }

  @Test
  void equalSettingsShareOneThreadAndItEndsWithTheLastLease() throws Exception {
    SharedKeys.Lease one = lease();
    SharedKeys.Lease two = lease();
    keyOf(one);
    keyOf(two);
    assertEquals(1, threads());
    one.close();
    one.close();
    Thread.sleep(200);
    assertEquals(1, threads());
    assertEquals("KEY1", keyOf(two));
    two.close();
    eventually(SOON, () -> threads() == 0);
    assertTrue(assertThrows(LakepassException.class, two::keys).getMessage().contains("closed"));
    assertEquals("KEY1", keyOf(lease()), "and it can start again");
  }

  @Test
  void usersDoNotMix() throws Exception {
    broker.behave((b, question) -> question.reply(
        200, b.keysJson().replace("KEY1", "KEY-OF-" + question.token), "ETag", question.token));
    SharedKeys.Lease alice = lease(TokenSource.literal("alice"), INTERVAL);
    SharedKeys.Lease bob = lease(TokenSource.literal("bob"), INTERVAL);
    for (int i = 0; i < 20; i++) {
      assertEquals("KEY-OF-alice", keyOf(alice));
      assertEquals("KEY-OF-bob", keyOf(bob));
      Thread.sleep(10);
    }
    assertEquals(2, threads());
    assertEquals(List.of("alice", "bob"), broker.questions.stream().map(q -> q.token).distinct().sorted().collect(Collectors.toList()));
  }

  @Test
  void closingInALongPollEndsTheThreadAtOnce() throws Exception {
    SharedKeys.Lease lease = lease(TokenSource.literal(TOKEN), Duration.ofSeconds(60));
    keyOf(lease);
    eventually(SOON, () -> broker.questions.size() == 2);
    lease.close();
    eventually(SOON, () -> threads() == 0);
  }

  @Test
  void closingEndsAWait() throws Exception {
    broker.behave((b, question) -> Thread.sleep(60_000));
    SharedKeys patient = new SharedKeys(clock, Duration.ofMinutes(1));
    SharedKeys.Lease lease = patient.newLease(settings(TokenSource.literal(TOKEN), INTERVAL));
    CompletableFuture<SessionKeys> waiter = CompletableFuture.supplyAsync(() -> {
      try {
        return lease.keys();
      } catch (LakepassException e) {
        throw new IllegalStateException(e);
      }
    });
    eventually(SOON, () -> broker.questions.size() == 1);
    lease.close();
    ExecutionException failure = assertThrows(ExecutionException.class, () -> waiter.get(5, TimeUnit.SECONDS));
    assertTrue(failure.getMessage().contains("closed"), failure.getMessage());
  }

  @Test
  void anInterruptEndsAWait() throws Exception {
    broker.behave((b, question) -> Thread.sleep(60_000));
    SharedKeys patient = new SharedKeys(clock, Duration.ofMinutes(1));
    SharedKeys.Lease lease = patient.newLease(settings(TokenSource.literal(TOKEN), INTERVAL));
    leases.add(lease);
    CompletableFuture<Boolean> interrupted = new CompletableFuture<>();
    Thread waiter = new Thread(() -> {
      assertThrows(LakepassException.class, lease::keys);
      interrupted.complete(Thread.currentThread().isInterrupted());
    });
    waiter.start();
    eventually(SOON, () -> broker.questions.size() == 1);
    waiter.interrupt();
    assertTrue(interrupted.get(5, TimeUnit.SECONDS), "a task that is killed stays interrupted");
  }

  @Test
  void forgottenLeasesEndTheThread() throws Exception {
    shared.newLease(settings(TokenSource.literal(TOKEN), INTERVAL)).keys();
    assertEquals(1, threads());
    eventually(SOON, () -> {
      System.gc();
      return threads() == 0;
    });
  }

  /** A daemon, without the caller's class loader, so that a JVM can end and a session's classes can go. */
  @Test
  void theThreadHoldsNothingOfItsCaller() throws Exception {
    ClassLoader before = Thread.currentThread().getContextClassLoader();
    Thread.currentThread().setContextClassLoader(new ClassLoader(before) {});
    try {
      keyOf(lease());
    } finally {
      Thread.currentThread().setContextClassLoader(before);
    }
    Thread thread = Thread.getAllStackTraces().keySet().stream()
        .filter(t -> t.getName().startsWith("lakepass-keys-"))
        .findFirst()
        .orElseThrow();
    assertTrue(thread.isDaemon());
    assertEquals(Refresher.class.getClassLoader(), thread.getContextClassLoader());
  }
}
