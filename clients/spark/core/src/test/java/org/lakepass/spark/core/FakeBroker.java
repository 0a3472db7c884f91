package org.lakepass.spark.core;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** A broker on loopback that does as a test tells it. By default it keeps the contract, long poll included. */
public final class FakeBroker implements AutoCloseable {
  public static final String SECRET_KEY = "SECRET-KEY-that-must-not-show";
  public static final String SESSION_TOKEN = "SESSION-TOKEN-that-must-not-show";

  /** What the broker does with a question. */
  public interface Behaviour {
    void answer(FakeBroker broker, Question question) throws IOException, InterruptedException;
  }

  public static final class Question {
    final HttpExchange exchange;
    public final String token;
    public final String tag;
    public final Map<String, String> query;
    public final long askedAtNanos = System.nanoTime();

    Question(HttpExchange exchange) {
      this.exchange = exchange;
      this.token = exchange.getRequestHeaders().getFirst("Authorization");
      this.tag = exchange.getRequestHeaders().getFirst("If-None-Match");
      String text = exchange.getRequestURI().getQuery();
      this.query = Stream.of((text == null ? "" : text).split("&"))
          .map(pair -> pair.split("=", 2))
          .filter(pair -> pair.length == 2)
          .collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
    }

    public void reply(int status, String body, String... headers) throws IOException {
      for (int i = 0; i < headers.length; i += 2) {
        exchange.getResponseHeaders().add(headers[i], headers[i + 1]);
      }
      byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
      exchange.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
      try (OutputStream out = exchange.getResponseBody()) {
        out.write(bytes);
      }
    }
  }

  public final List<Question> questions = new CopyOnWriteArrayList<>();
  private final HttpServer server;
  private final ExecutorService threads = Executors.newCachedThreadPool();
  private volatile Behaviour behaviour = FakeBroker::keepContract;
  private int generation = 1;
  private Instant expiration = Instant.now().plusSeconds(3600);

  public FakeBroker() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.setExecutor(threads);
    server.createContext("/", exchange -> {
      Question question = new Question(exchange);
      questions.add(question);
      try {
        behaviour.answer(this, question);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      } finally {
        exchange.close();
      }
    });
    server.start();
  }

  public String url() {
    return "http://127.0.0.1:" + server.getAddress().getPort();
  }

  public void behave(Behaviour wanted) {
    behaviour = wanted;
  }

  public void behaveWell() {
    behaviour = FakeBroker::keepContract;
  }

  /** What sharing or revoking does: from now on other keys are served. */
  public synchronized void changeKeys() {
    generation++;
    notifyAll();
  }

  public synchronized void expireAt(Instant moment) {
    expiration = moment;
  }

  public synchronized String accessKeyId() {
    return "KEY" + generation;
  }

  public synchronized String tag() {
    return "\"tag" + generation + "\"";
  }

  synchronized String keysJson() {
    return "{\"AccessKeyId\":\"" + accessKeyId() + "\",\"SecretAccessKey\":\"" + SECRET_KEY + "\",\"Token\":\"" + SESSION_TOKEN
        + "\",\"Expiration\":\"" + expiration + "\"}";
  }

  void keepContract(Question question) throws IOException, InterruptedException {
    long until = System.nanoTime() + Long.parseLong(question.query.getOrDefault("wait", "0")) * 1_000_000_000L;
    synchronized (this) {
      while (tag().equals(question.tag) && System.nanoTime() < until) {
        wait(Math.max(1, (until - System.nanoTime()) / 1_000_000));
      }
    }
    answerAtOnce(question);
  }

  /** As a broker or an agent that holds no question. */
  void answerAtOnce(Question question) throws IOException {
    if (tag().equals(question.tag)) {
      question.reply(304, "");
    } else {
      question.reply(200, keysJson(), "ETag", tag());
    }
  }

  @Override
  public void close() {
    server.stop(0);
    threads.shutdownNow();
  }
}
